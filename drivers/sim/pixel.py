"""The pixels of an event camera: from reflectance to events, one step of 1 ms at a time.

Per pixel, with I the light and L = ln(I + I_DARK):

    photoreceptor   v += a (L0 - v) + b (L1 - L0),  a = 1 - exp(-z), b = 1 - a / z,  z = 2 pi f dt,
                    f = min(F_MAX_HZ, f_ref (I + I_DARK)): exact for a light that is linear within the step
    follower        where the camera has one: w += (1 - exp(-2 pi f_sf dt)) (v - w), and w is compared
    event           where d = v - ref + leak t reaches theta_on (ON) or -theta_off (OFF); its time by linear
                    interpolation of v within the step
    reset           until te + refractory; then ref = v: what changes meanwhile is lost, as in the circuit
    forced events   one waiting time per pixel, redrawn after each of its events: shot noise and hot pixels
                    (exponential wait, rate falling with light) or, with some probability, the rebound of
                    the opposite sign that real DVS128 pixels show within milliseconds of an event
    duplicate       with probability p_dup the event again 1 us later (the bus handshake)

The reference is kept in the frame that drifts with the leak, so the leak costs no write. A tile sleeps when
all its pixels have followed the light; it wakes when painted, or at its first forced event, end of
reset or leak crossing. Times are int64 us, levels float32. Draws are hashes of (seed, pixel, count).
"""

import numba
import numpy as np

from spikeline.drivers.sim.draws import TABLE_BITS, bits_at
from spikeline.drivers.sim.pixel_state import FREE, NEVER, STEP_US
from spikeline.drivers.sim.poles import filter_once, filter_twice, follower_share
from spikeline.drivers.sim.render import PIXELS

I_NOISE = 0.05  # light at which shot noise has fallen half way
MAX_EVENTS = 16  # per pixel and step

_F = np.float32
_FIELD_MASK = np.uint64(0xFFFF)  # probabilities and uniform draws take 16 bits
_INDEX_SHIFT = np.uint64(64 - TABLE_BITS)
_ONE_BIT = np.uint64(1)
_S16, _S32 = np.uint64(16), np.uint64(32)


@numba.njit(cache=True, nogil=True)
def settle(px, values, seed, t_us):
    """Before the first step: v has followed the light, references lie anywhere between the thresholds."""
    for tile in range(px.v.shape[0]):
        for i in range(PIXELS):
            level = px.log_light[tile, i]
            px.first[tile, i] = level
            px.v[tile, i] = level
            px.v_old[tile, i] = level
            px.log_light_old[tile, i] = level
            h = bits_at(seed, np.uint64(tile * PIXELS + i), np.uint64(0))
            u = _F(np.int64(h & _FIELD_MASK)) / _F(65536.0)
            low, high = -px.theta_off[tile, i], px.theta_on[tile, i]
            drift = px.leak[tile, i] * _F(t_us)
            px.ref[tile, i] = level + drift - (low + u * (high - low))
            px.draws[tile, i] = np.uint64(1)
            _redraw(px, values, seed, tile, i, t_us, False, np.uint8(0))


@numba.njit(cache=True, nogil=True)
def _redraw(px, values, seed, tile, i, t_us, after_event, p):
    """Draw the pixel's next forced event after `t_us`; return True if the event just sent is doubled."""
    count = px.draws[tile, i]
    px.draws[tile, i] = count + _ONE_BIT
    h = bits_at(seed, np.uint64(tile * PIXELS + i), count)
    refractory = px.refractory_us[tile, i] if after_event else 0
    if after_event:
        chance = px.rebound_on[tile, i] if p == 1 else px.rebound_off[tile, i]
        if np.int64(h & _FIELD_MASK) < np.int64(chance):
            delay = values.rebound_us * px.delays[np.int64(h >> _INDEX_SHIFT)]
            px.forced_us[tile, i] = t_us + refractory + np.int64(delay)
            px.forced_p[tile, i] = 1 - p
            return np.int64((h >> _S16) & _FIELD_MASK) < np.int64(values.duplicate * 65536.0)
    dim = I_NOISE / (I_NOISE + np.float64(px.light[tile, i]))
    rate = values.noise_bright_hz + (values.noise_dark_hz - values.noise_bright_hz) * dim
    rate = rate * np.float64(px.noise_gain[tile, i]) + np.float64(px.hot_hz[tile, i])
    if rate > 0.0:
        wait = px.waits[np.int64(h >> _INDEX_SHIFT)] * 1e6 / rate
        px.forced_us[tile, i] = t_us + refractory + 1 + np.int64(min(wait, 1e15))
    else:
        px.forced_us[tile, i] = NEVER
    px.forced_p[tile, i] = np.uint8((h >> _S32) & _ONE_BIT)
    return after_event and np.int64((h >> _S16) & _FIELD_MASK) < np.int64(values.duplicate * 65536.0)


@numba.njit(cache=True, nogil=True)
def step_pixels(px, values, seed, t0_us, painted, flags, out_t, out_pixel, out_p, n):
    """Advance every tile from t0_us by STEP_US; events go unsorted to out_* from index n on.

    painted  (tiles,) 1: lit anew in this step    flags  (tiles,) scratch
    Returns (n, events dropped for want of room or by the cap).
    """
    t1_us = t0_us + STEP_US
    lost = 0
    hot, wake_us = px.hot, px.wake_us
    if values.follower_hz > 0.0:
        filter_twice(
            hot, painted, flags, px.first, px.v, px.v_old, px.log_light, px.log_light_old, px.a, px.b, px.ref,
            px.theta_on, px.theta_off, px.leak, _F(t1_us), _F(follower_share(values.follower_hz)),
        )  # fmt: skip
    else:
        filter_once(
            hot, painted, flags, px.v, px.v_old, px.log_light, px.log_light_old, px.a, px.b, px.ref,
            px.theta_on, px.theta_off, px.leak, _F(t1_us),
        )  # fmt: skip
    for tile in range(hot.shape[0]):
        if flags[tile] != 0 or wake_us[tile] < t1_us:
            n, dropped = _tile_events(px, values, seed, tile, t0_us, t1_us, out_t, out_pixel, out_p, n)
            lost += dropped
    return n, lost


@numba.njit(cache=True, nogil=True)
def _tile_events(px, values, seed, tile, t0_us, t1_us, out_t, out_pixel, out_p, n):
    """Events of one tile in [t0, t1); then when the tile must be looked at again."""
    lost = 0
    t1 = _F(t1_us)
    v, ref, leak = px.v[tile], px.ref[tile], px.leak[tile]
    on, off = px.theta_on[tile], px.theta_off[tile]
    forced, reset = px.forced_us[tile], px.reset_us[tile]
    for i in range(PIXELS):
        d = v[i] - ref[i] + leak[i] * t1
        if d >= on[i] or d <= -off[i] or forced[i] < t1_us or (reset[i] != FREE and reset[i] < t1_us):
            n, dropped = _pixel_events(px, values, seed, tile, i, t0_us, t1_us, out_t, out_pixel, out_p, n)
            lost += dropped
    wake = np.int64(NEVER)
    for i in range(PIXELS):
        wake = min(wake, forced[i])
        if reset[i] != FREE:
            wake = min(wake, reset[i])
    if px.hot[tile] != 1:
        for i in range(PIXELS):
            px.v_old[tile, i] = v[i]
            if reset[i] == FREE:
                d = v[i] - ref[i] + leak[i] * t1
                if d >= on[i] or d <= -off[i]:
                    wake = min(wake, t1_us)
                elif leak[i] > _F(0.0):
                    cross = (np.float64(on[i]) - np.float64(v[i] - ref[i])) / np.float64(leak[i])
                    wake = min(wake, np.int64(min(max(cross - 2.0, -1e15), 1e15)))
        px.hot[tile] = 0
    px.wake_us[tile] = wake
    return n, lost


@numba.njit(cache=True, nogil=True)
def _pixel_events(px, values, seed, tile, i, t0_us, t1_us, out_t, out_pixel, out_p, n):
    """The events of one pixel in [t0, t1), one after the other."""
    v0, v1 = np.float64(px.v_old[tile, i]), np.float64(px.v[tile, i])
    slope = (v1 - v0) / STEP_US
    leak = np.float64(px.leak[tile, i])
    on, off = np.float64(px.theta_on[tile, i]), np.float64(px.theta_off[tile, i])
    cur = t0_us
    lost = 0
    sent = 0
    while True:
        end = px.reset_us[tile, i]
        if end != FREE:
            if end >= t1_us:
                break
            cur = max(cur, end)
            px.ref[tile, i] = _F(v0 + slope * (cur - t0_us) + leak * cur)
            px.reset_us[tile, i] = FREE
        ref = np.float64(px.ref[tile, i])
        d0 = v0 + slope * (cur - t0_us) + leak * cur - ref
        rise = slope + leak
        te = np.int64(NEVER)
        p = np.uint8(0)
        if d0 >= on:
            te, p = cur, np.uint8(1)
        elif d0 <= -off:
            te, p = cur, np.uint8(0)
        elif rise > 0.0 and d0 + rise * (t1_us - cur) >= on:
            te, p = cur + np.int64((on - d0) / rise), np.uint8(1)
        elif rise < 0.0 and d0 + rise * (t1_us - cur) <= -off:
            te, p = cur + np.int64((-off - d0) / rise), np.uint8(0)
        forced = px.forced_us[tile, i]
        if forced <= te:
            te, p = max(forced, cur), px.forced_p[tile, i]
        if te >= t1_us:
            break
        doubled = _redraw(px, values, seed, tile, i, te, True, p)
        px.reset_us[tile, i] = te + px.refractory_us[tile, i]
        px.ref[tile, i] = _F(np.nan)
        cur = te
        sent += 1
        if sent > MAX_EVENTS or n + 2 > out_t.shape[0]:
            lost += 1
            continue
        out_t[n], out_pixel[n], out_p[n] = te, tile * PIXELS + i, p
        n += 1
        if doubled:
            out_t[n], out_pixel[n], out_p[n] = te + 1, tile * PIXELS + i, p
            n += 1
    return n, lost
