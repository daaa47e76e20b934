"""What EVT2, EVT2.1 and EVT3 share: words with a type in their upper four bits, and a clock in words.

A word of type 8 (TIME_HIGH) carries the upper bits of the time for all events behind it. The decoders
run in two speeds: `_run_plain` takes chunks of words in which nothing is unusual, without a branch where
it can; `_run_careful` takes one chunk word by word. Both keep all they know in `state`.

A damaged TIME_HIGH would move all events behind it, so one that steps further than usual is believed only
if the next one does not go on from before it. A lost one shows where the low bits fall under the same
TIME_HIGH: its step is then added, up to the time of the next TIME_HIGH.
"""

from abc import abstractmethod
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from spikeline.drivers.formats.records import NO_TIME, SPARE, Bytes, Decoder, Room, Step
from spikeline.drivers.formats.times import follow
from spikeline.pipeline.events import JUMP_US

CHUNK = 4_096  # words
LOOK_BYTES = 1 << 17  # how far the next TIME_HIGH is looked for: half of what is read at once
STEP_US = 1_000_000  # a longer step of the clock needs words behind it that make sense
LAST_STEP_US = JUMP_US  # and one that no TIME_HIGH follows is believed up to this
NEAR_WORDS = 64  # strange words are damage if among so many
STRANGE_WORDS = 4  # there are so many
CHAIN_WORDS = 1_024  # or among so many
CHAIN_STRANGE = 16  # so many; but not if in these
CHAIN_STEPS = 4  # the clock takes so many steps, all of them good
VOTES = 8  # words of the clock that say whether one of it is right
PACES = 16  # steps of the clock that tell its pace
NEVER = 1 << 62

# What `state` (int64) holds.
HIGH, BEFORE = 0, 1  # the last TIME_HIGH and the one before it, in us, unwrapped
KNOWN = 2  # one has been seen
TAKE = 3  # the next one is to be believed
LENIENT = 4  # for so many words, strange ones are only counted
STRICT = 5  # for so many words, behind damage, no TIME_HIGH is believed that none confirms
EXTRA, CAP = 6, 7  # us added because a TIME_HIGH was lost; the time of the next one
OWN = 8  # each format's own begin here

SAME, CHANGED, SET, ODD = range(4)  # what a TIME_HIGH does; SET: to an earlier time, or far ahead
MORE, NONE = -1, -2

# What `counts` holds: words by type, and from 16 on
LOST, DAMAGED = 16, 17  # TIME_HIGH words

Times = NDArray[np.int64]


def _places() -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """For each mask of 12 bits, which bits are set (12 places, unused ones 0), and how many are."""
    bits = (np.arange(1 << 12)[:, None] >> np.arange(12)) & 1
    places = np.argsort(1 - bits, axis=1, kind="stable") * np.sort(bits, axis=1)[:, ::-1]
    return places.astype(np.uint16).ravel(), bits.sum(axis=1).astype(np.uint8)


PLACES, SET_BITS = _places()


class WordDecoder(Decoder):
    """Base of the three."""

    run = NEAR_WORDS
    step_us = STEP_US
    dtype: str  # of a word
    layout: "Layout"
    strange: tuple[int, ...]  # types that no camera is known to send
    names: dict[int, str]  # of what `_counts` counts

    def __init__(self, own: int, shift_us: int) -> None:
        super().__init__()
        self._state = np.zeros(OWN + own, np.int64)
        self._counts = np.zeros(19, np.int64)
        self._shift_us = shift_us
        self._is_strange = np.isin(np.arange(16), self.strange)

    @abstractmethod
    def _split(self, words: NDArray) -> tuple[NDArray[np.uint8], Times, Times]:
        """For each word: type; the time it would have as a TIME_HIGH; its low bits, -1 if it has none."""

    @abstractmethod
    def _run_plain(self, words: NDArray, room: Room) -> tuple[int, int]:
        """Chunks as long as nothing is unusual: (words used, events)."""

    @abstractmethod
    def _run_careful(self, words: NDArray, room: Room, final: bool) -> tuple[int, int, int, bool]:
        """At most a chunk, word by word: (words used, events, events refused, stopped at an odd word)."""

    def words(self, data: Bytes) -> NDArray:
        return data[: len(data) // self.unit * self.unit].view(self.dtype)

    def decode(self, data: Bytes, room: Room, final: bool) -> Step:
        words = self.words(data)
        used = events = refused = 0
        odd, ordered, more = False, True, 1
        while more and not odd and used < len(words) and len(room.t) - events >= SPARE:
            more, made = self._run_plain(words[used:], room.part(events, len(room.t)))
            used, events = used + more, events + made
            if used < len(words) and len(room.t) - events >= SPARE:
                rest = room.part(events, len(room.t))
                more, made, lost, odd = self._run_careful(words[used:], rest, final)
                used, events, refused = used + more, events + made, refused + lost
                ordered &= made == 0  # plain chunks are
        self.count("event without a time or place", refused)
        return Step(used * self.unit, events, odd, refused, ordered)

    @property
    def others(self) -> dict[str, int]:
        counted = dict(self._others)
        for kind, number in enumerate(self._counts):
            if number:
                name = self.names.get(kind, "unknown word")
                counted[name] = counted.get(name, 0) + int(number)
        return counted

    @others.setter
    def others(self, counted: dict[str, int]) -> None:
        self._others = counted

    def count(self, kind: str, more: int) -> None:
        if more:
            self._others[kind] = self._others.get(kind, 0) + more

    @property
    def end_us(self) -> int | None:
        """Not a time that only the last TIME_HIGH tells, far from the one before."""
        state = self._state
        sure = state[KNOWN] and state[HIGH] - state[BEFORE] <= STEP_US
        return int(state[HIGH]) + self._shift_us if sure else None

    def good(self, data: Bytes) -> tuple[NDArray[np.bool_], Times]:
        types, times, _ = self._split(self.words(data))
        return ~self._is_strange[types], np.where(types == 8, times, NO_TIME)

    def judge(self, ahead: Bytes, final: bool) -> int | None:
        """A long step of the clock is believed if most of the next ones are no earlier, and a strange word
        counted, unless others are near. If the clock goes on well for a while, then even many strange
        words are not damage."""
        types, times, _ = self._split(self.words(ahead)[:CHAIN_WORDS])
        if not len(types):
            return None
        strange = np.flatnonzero(self._is_strange[types])
        near = np.count_nonzero(strange < NEAR_WORDS) >= STRANGE_WORDS
        since = (times[types == 8] - self._state[HIGH]) % self.wrap_us
        if types[0] == 8 and not near:
            if np.count_nonzero(since[1:VOTES] < since[0]) * 2 > len(since[1:VOTES]):
                self._counts[DAMAGED] += 1
                return self.unit
            self._state[TAKE] = 1
            return 0
        steps = np.diff(since, prepend=0) % self.wrap_us
        chained = self._state[KNOWN] and len(steps) >= CHAIN_STEPS and (steps <= STEP_US).all()
        if types[0] == 8 or (not chained and (near or len(strange) >= CHAIN_STRANGE)):
            return None
        self._state[LENIENT] = CHAIN_WORDS if chained else 1
        return 0

    def resume(self, ahead: Bytes) -> None:
        """Find the TIME_HIGH that holds behind damage: the last good one, or one among what was lost.

        Then it is the one before the next, at the pace at which the clock goes on; where cameras repeat
        it within one value, it may be the next itself.
        """
        state = self._state
        state[[LENIENT, TAKE, EXTRA]] = 0
        state[STRICT] = NEAR_WORDS
        types, times, lows = self._split(self.words(ahead))
        where = np.flatnonzero(types == 8)
        chained = np.diff(times[where]) % self.wrap_us <= STEP_US  # with the next; others are damaged, too
        where = where[int(np.argmax(chained)) if chained.any() else 0 :]
        if not len(where) or not state[KNOWN]:
            return
        following = times[where]
        good = [int(state[BEFORE]), int(state[HIGH])]
        last = min(good, key=lambda high: int(following[0] - high) % self.wrap_us)
        step = int(following[0] - last) % self.wrap_us
        paces = np.diff(following[:PACES]) % self.wrap_us
        usual = int(np.median(paces[paces > 0])) if (paces > 0).any() else 0
        if 0 < usual < step <= STEP_US or (0 < step <= STEP_US and (paces == 0).any()):
            before, behind = lows[: where[0]], lows[where[0] :]
            same = (paces == 0).any() and _last(before) <= _last(behind[::-1])
            last += step - (0 if same else usual or self.layout.high_us)
        state[HIGH] = state[BEFORE] = last


def _last(lows: Times) -> int:
    known = lows[lows >= 0]
    return int(known[-1]) if len(known) else 0


class Layout(NamedTuple):
    """Where a word has its type and its TIME_HIGH, and what that counts; for the kernels below."""

    kind_shift: int
    high_shift: int
    high_mask: int
    high_us: int
    wrap_us: int
    usual_us: int  # steps of the clock up to this need no second look


@numba.njit(cache=True, nogil=True)
def take_high(words, i, layout, state, counts, final):
    """Let the TIME_HIGH that is word i set the clock, or not. Returns one of the following.

    ODD: it may be of damage. MORE: words behind these are needed to say.
    """
    raw = np.int64((words[i] >> layout.high_shift) & layout.high_mask) * layout.high_us
    step = (raw - state[HIGH]) % layout.wrap_us
    done = CHANGED if step else SAME
    if state[KNOWN] == 0:
        if layout.wrap_us > JUMP_US:  # a short clock may well do what only damage does to a long one
            coming = next_high(words, i, layout, final)
            if coming == MORE:
                return MORE
            if coming != NONE and (coming - raw) % layout.wrap_us > layout.wrap_us // 2:
                counts[DAMAGED] += 1
                return SAME
        state[HIGH] = state[BEFORE] = raw
        done = CHANGED
    elif step <= layout.usual_us:
        state[BEFORE], state[HIGH] = state[HIGH], state[HIGH] + step
    elif state[TAKE]:
        state[HIGH] = state[BEFORE] = follow(raw, state[HIGH], layout.wrap_us)
        done = SET
    else:
        coming = next_high(words, i, layout, final)
        if coming == MORE:
            return MORE
        leap = state[HIGH] - state[BEFORE]
        back = (raw - state[BEFORE]) % layout.wrap_us
        ahead = (coming - state[BEFORE]) % layout.wrap_us if coming != NONE else back
        if back < leap <= layout.wrap_us // 2 and (ahead < leap or (ahead == leap and back > 0)):
            counts[DAMAGED] += 1  # the last one was: this goes on from the one before it
            state[HIGH] = state[BEFORE] + back
            done = SET
        elif _contradicted(step, coming, layout, state):
            counts[DAMAGED] += 1
            return SAME
        elif coming != NONE and step > STEP_US:
            return ODD
        else:
            state[BEFORE], state[HIGH] = state[HIGH], state[HIGH] + step
    state[KNOWN], state[TAKE], state[EXTRA] = 1, 0, 0
    return done


@numba.njit(cache=True, nogil=True)
def _contradicted(step, coming, layout, state):
    """True if the next TIME_HIGH goes on from before this one; if there is none, if this went too far."""
    if coming != NONE:
        return (coming - state[HIGH]) % layout.wrap_us < step
    return step > (STEP_US // 10 if state[STRICT] else min(LAST_STEP_US, layout.wrap_us // 2))


@numba.njit(cache=True, nogil=True)
def add_lost(words, i, layout, state, counts, final):
    """The low bits fell at word i: go on by one TIME_HIGH, if the next is later. False: more must be read."""
    coming = next_high(words, i, layout, final)
    if coming == MORE:
        return False
    step = (coming - state[HIGH]) % layout.wrap_us if coming != NONE else NEVER
    if step > 0:
        state[EXTRA] += layout.high_us
        state[CAP] = min(NEVER, state[HIGH] + step)
        counts[LOST] += 1
    return True


@numba.njit(cache=True, nogil=True)
def next_high(words, i, layout, final):
    """The time of the next TIME_HIGH behind word i; NONE if it is far, MORE if more must be read to say."""
    look = LOOK_BYTES // words.itemsize
    stop = min(words.shape[0], i + look)
    for j in range(i + 1, stop):
        if words[j] >> layout.kind_shift == 8:
            return np.int64((words[j] >> layout.high_shift) & layout.high_mask) * layout.high_us
    return NONE if final or stop == i + look else MORE
