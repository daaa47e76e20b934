"""Shapes to light on the pixels: capsules painted over a still background, in 8x8 tiles.

Images are tile-major: (tiles, 64) with tile = row * columns + column. Only tiles near something that moved
are painted again. A capsule covers a pixel at distance d from its outline by smoothstep(1/2 - d / (2 blur));
its surface is albedo * (1 - q^2 / 4) * (1 + 0.15 light q) * (1 + texture), q the offset across it in radii.
All arithmetic is float32, without fast-math.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.sim.draws import Draws

TILE = 8
PIXELS = TILE * TILE
LOOKS = 10  # near albedo, far albedo, where it changes, texture: along, across, both, cycles 2, phases 2
MOVED_PX = 0.02  # a shape that moved less is not painted again

_F = np.float32
_ZERO, _HALF, _ONE, _TWO, _THREE, _FOUR = _F(0), _F(0.5), _F(1), _F(2), _F(3), _F(4)
_CURVE, _SIDE_LIGHT, _FAINT = _F(0.25), _F(0.15), _F(0.01)
_TILE_RADIUS = _F(5.0)  # from a tile's centre to its corner pixels, rounded up


@numba.njit(cache=True, nogil=True)
def mark_tiles(geometry, blur, columns, rows, dirty):
    """dirty[tile] = 1 for the tiles that a capsule (x0, y0, r0, x1, y1, r1) may touch."""
    x0, y0, r0, x1, y1, r1 = geometry
    margin = max(r0, r1) + blur + _TILE_RADIUS
    first_x = max(0, int(np.floor((min(x0, x1) - margin) / TILE)))
    last_x = min(columns - 1, int(np.floor((max(x0, x1) + margin) / TILE)))
    first_y = max(0, int(np.floor((min(y0, y1) - margin) / TILE)))
    last_y = min(rows - 1, int(np.floor((max(y0, y1) + margin) / TILE)))
    for ty in range(first_y, last_y + 1):
        for tx in range(first_x, last_x + 1):
            tile = ty * columns + tx
            if dirty[tile] == 0:
                d = _outline_distance(
                    _F(tx * TILE) + _F(3.5), _F(ty * TILE) + _F(3.5), x0, y0, r0, x1, y1, r1
                )
                if d < blur + _TILE_RADIUS:
                    dirty[tile] = 1


@numba.njit(cache=True, nogil=True, forceinline=True)
def _outline_distance(x, y, x0, y0, r0, x1, y1, r1):
    dx, dy = x1 - x0, y1 - y0
    length2 = dx * dx + dy * dy
    h = _ZERO
    if length2 > _FAINT:
        h = min(_ONE, max(_ZERO, ((x - x0) * dx + (y - y0) * dy) / length2))
    ex, ey = x - x0 - h * dx, y - y0 - h * dy
    return np.sqrt(ex * ex + ey * ey) - (r0 + h * (r1 - r0))


@numba.njit(cache=True, nogil=True)
def paint_tile(tile, columns, background, geometry, order, looks, blurs, shades, light_x, light_y, out):
    """out (64,) = reflectance of one tile: the background, then each shape that touches it, back to front."""
    left, top = _F((tile % columns) * TILE), _F((tile // columns) * TILE)
    cx, cy = left + _F(3.5), top + _F(3.5)
    start = -1  # shapes behind one that covers the whole tile need no painting
    touching = 0
    for k in range(order.shape[0]):
        s = order[k]
        g, blur = geometry[s], blurs[s]
        d = _outline_distance(cx, cy, g[0], g[1], g[2], g[3], g[4], g[5])
        if d < blur + _TILE_RADIUS:
            touching += 1
            if d < -(blur + _TILE_RADIUS) and shades[s] == _ZERO:
                start = k
    for i in range(PIXELS):
        out[i] = background[tile, i]
    if touching == 0:
        return
    shaded = False
    for k in range(max(start, 0), order.shape[0]):
        s = order[k]
        g, blur = geometry[s], blurs[s]
        if _outline_distance(cx, cy, g[0], g[1], g[2], g[3], g[4], g[5]) < blur + _TILE_RADIUS:
            if shades[s] > _ZERO:
                if not shaded:
                    _shade(left, top, geometry, order, blurs, shades, out)
                shaded = True
            else:
                _paint_capsule(left, top, g, looks[s], blur, light_x, light_y, out)


@numba.njit(cache=True, nogil=True)
def _shade(left, top, geometry, order, blurs, shades, out):
    """The soft shadow of all shapes that cast one: where two overlap, the darker."""
    for row in range(TILE):
        for column in range(TILE):
            most = _ZERO
            for k in range(order.shape[0]):
                s = order[k]
                if shades[s] > _ZERO:
                    g = geometry[s]
                    d = _outline_distance(
                        left + _F(column), top + _F(row), g[0], g[1], g[2], g[3], g[4], g[5]
                    )
                    c = min(_ONE, max(_ZERO, _HALF - d / (_TWO * blurs[s])))
                    most = max(most, shades[s] * c * c * (_THREE - _TWO * c))
            out[row * TILE + column] *= _ONE - most


@numba.njit(cache=True, nogil=True)
def shift_background(wall, dx, dy, columns, out):
    """out (tiles, 64) = the middle of a larger `wall`, moved by dx, dy; bilinear, held at its borders."""
    height, width = wall.shape
    rows = out.shape[0] // columns
    left, top = _F(0.5 * (width - columns * TILE) - dx), _F(0.5 * (height - rows * TILE) - dy)
    for tile in range(out.shape[0]):
        for i in range(PIXELS):
            u = min(max(left + _F((tile % columns) * TILE + i % TILE), _ZERO), _F(width - 2))
            v = min(max(top + _F((tile // columns) * TILE + i // TILE), _ZERO), _F(height - 2))
            iu, iv = int(u), int(v)
            fu, fv = u - _F(iu), v - _F(iv)
            above = wall[iv, iu] + fu * (wall[iv, iu + 1] - wall[iv, iu])
            below = wall[iv + 1, iu] + fu * (wall[iv + 1, iu + 1] - wall[iv + 1, iu])
            out[tile, i] = above + fv * (below - above)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_capsule(left, top, g, look, blur, light_x, light_y, out):
    x0, y0, r0 = g[0], g[1], g[2]
    dx, dy, dr = g[3] - x0, g[4] - y0, g[5] - r0
    length2 = dx * dx + dy * dy
    inverse = _ZERO
    nx, ny = _ONE, _ZERO
    length = np.sqrt(length2)
    if length2 > _FAINT:
        inverse = _ONE / length2
        nx, ny = -dy / length, dx / length
    sharp = _ONE / (_TWO * blur)
    lit = _SIDE_LIGHT * (nx * light_x + ny * light_y)
    near, far, cut = look[0], look[1], look[2]
    ta, tq, tb, fa, fq, pa, pq = look[3], look[4], look[5], look[6], look[7], look[8], look[9]
    for row in range(TILE):
        y = top + _F(row) - y0
        for column in range(TILE):
            x = left + _F(column) - x0
            h = min(_ONE, max(_ZERO, (x * dx + y * dy) * inverse))
            ex, ey = x - h * dx, y - h * dy
            d = np.sqrt(ex * ex + ey * ey)
            r = r0 + h * dr
            c = min(_ONE, max(_ZERO, _HALF - (d - r) * sharp))
            alpha = c * c * (_THREE - _TWO * c)
            q = min(_ONE, max(-_ONE, (ex * nx + ey * ny) / r))
            u = h * fa + pa
            u = _FOUR * abs(u - np.floor(u) - _HALF) - _ONE
            v = q * fq + pq
            v = _FOUR * abs(v - np.floor(v) - _HALF) - _ONE
            texture = _ONE + ta * u + tq * v + tb * u * v
            beyond = min(_ONE, max(_ZERO, (h - cut) * length + _HALF))
            albedo = near + beyond * (far - near)
            value = albedo * (_ONE - _CURVE * q * q) * (_ONE + lit * q) * texture
            i = row * TILE + column
            out[i] += alpha * (value - out[i])


def to_tiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width) to (tiles, 64)."""
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    tiles = image.reshape(rows, TILE, columns, TILE).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, PIXELS))


def from_tiles(tiles: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """(tiles, 64) to (height, width)."""
    rows = tiles.shape[0] // columns
    return tiles.reshape(rows, columns, TILE, TILE).transpose(0, 2, 1, 3).reshape(rows * TILE, columns * TILE)


def background_image(
    seed: int, width: int, height: int, albedo: float, contrast: float, furniture: int
) -> NDArray[np.float32]:
    """A wall of four octaves of value noise with `furniture` rectangles of other albedo in front."""
    draws = Draws("background", seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    noise = np.zeros((height, width))
    for octave in range(4):
        cell = 48.0 / 2**octave
        n = int(max(width, height) / cell) + 3
        grid = np.array([draws.uniform(-1.0, 1.0) for _ in range(n * n)]).reshape(n, n)
        gx, gy = x / cell + draws.uniform(0.0, 1.0), y / cell + draws.uniform(0.0, 1.0)
        ix, iy = gx.astype(np.int64), gy.astype(np.int64)
        fx, fy = gx - ix, gy - iy
        fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
        low = grid[iy, ix] * (1 - fx) + grid[iy, ix + 1] * fx
        high = grid[iy + 1, ix] * (1 - fx) + grid[iy + 1, ix + 1] * fx
        noise += (low * (1 - fy) + high * fy) / 2**octave
    image = albedo * (1.0 + 2.0 * contrast * noise)
    for _ in range(furniture):
        x0, y0 = draws.uniform(-0.2, 0.9) * width, draws.uniform(-0.2, 0.9) * height
        w, h = draws.uniform(0.08, 0.4) * width, draws.uniform(0.1, 0.7) * height
        gain = 1.0 + draws.uniform(-4.0, 4.0) * contrast
        image[(x >= x0) & (x < x0 + w) & (y >= y0) & (y < y0 + h)] *= max(gain, 0.3)
    return np.clip(image, 0.03, 1.2).astype(np.float32)
