import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline import kernels

import reference
from strategies import event_streams

COMPILED = [True, False]


def kernel(name, compiled):
    function = getattr(kernels, name)
    return function if compiled else function.py_func


@pytest.mark.parametrize("compiled", COMPILED)
@settings(deadline=None, max_examples=60)
@given(event_streams(width=8, height=6), st.integers(0, 2**32 - 1), st.data())
def test_add_events_counts_every_event_once(compiled, stream, seed, data):
    t, x, y, p = stream
    start = data.draw(st.integers(0, len(t)))
    stop = data.draw(st.integers(start, len(t)))
    cells = np.random.default_rng(seed).integers(-1, 12, (6, 8)).astype(np.int32)
    frame, lost = np.zeros((2, 12), np.uint16), np.zeros(2, np.int64)
    kernel("add_events", compiled)(x, y, p, start, stop, cells, frame, lost)
    wanted, outside, saturated = reference.count_frame(x[start:stop], y[start:stop], p[start:stop], cells, 12)
    np.testing.assert_array_equal(frame, wanted)
    assert lost.tolist() == [outside, saturated]
    assert frame.sum() + lost.sum() == stop - start


@pytest.mark.parametrize("compiled", COMPILED)
def test_a_full_cell_stays_full_and_is_counted(compiled):
    x = y = np.zeros(5, np.uint16)
    frame, lost = np.full((2, 1), 65_533, np.uint16), np.zeros(2, np.int64)
    cells = np.zeros((1, 1), np.int32)
    kernel("add_events", compiled)(x, y, np.ones(5, np.uint8), 0, 5, cells, frame, lost)
    assert frame.tolist() == [[65_533], [65_535]]
    assert lost.tolist() == [0, 3]


@pytest.mark.parametrize("compiled", COMPILED)
@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_add_frames_saturates_and_says_how_much(compiled, seed):
    rng = np.random.default_rng(seed)
    total, part = rng.integers(0, 65_536, (2, 2, 9)).astype(np.uint16)
    exact = total.astype(np.int64) + part
    over = kernel("add_frames", compiled)(total, part)
    np.testing.assert_array_equal(total, np.minimum(exact, 65_535))
    assert over == (exact - np.minimum(exact, 65_535)).sum()


@pytest.mark.parametrize("compiled", COMPILED)
@settings(deadline=None, max_examples=60)
@given(event_streams(), st.integers(-10, 30_000))
def test_first_at_or_after_is_searchsorted(compiled, stream, until):
    t = stream[0]
    assert kernel("first_at_or_after", compiled)(t, 0, len(t), until) == np.searchsorted(t, until, "left")
