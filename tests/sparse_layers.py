"""What tests of the spike-driven engine's kernels are given: spikes in their lists, convolutions, neurons."""

import numba
import numpy as np
import slow_sparse as slow
from hypothesis import settings
from hypothesis import strategies as st

from spikeline.pipeline.engines.sparse import kernels_neuron, kernels_spikes
from spikeline.pipeline.engines.sparse.geometry import Convolution, averaged, expanded
from spikeline.pipeline.engines.sparse.spikes import Spikes

COMPILED = not numba.config.DISABLE_JIT
examples = settings(deadline=None, max_examples=40 if COMPILED else 8)
seeds = st.integers(0, 2**32 - 1)
NO_SUMS, NO_DUE, NO_AWAKE = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint8)


def spikes_of(values):
    """Values (C, H, W) in a room for spikes of one stream."""
    C = len(values)
    spikes = Spikes(1, values.shape, most=max(1, int(values.max())))
    flat = np.ascontiguousarray(values.reshape(C, -1).T.astype(np.float32)).ravel()
    spikes.total[0] = kernels_spikes.collect(
        flat, C, spikes.most == 1, spikes.values[0], spikes.words[0], spikes.count[0], spikes.first[0],
        spikes.entries[0], spikes.list[0],
    )  # fmt: skip
    return spikes


def last(values):
    """(C, H, W) as (P, C)."""
    return values.reshape(len(values), -1).T


def finished(sums, hit, scale, flat, drive, numbers, out):
    """A step of all neurons; spikes, awake and clipped ones."""
    found = np.ones(3, np.int64)
    kernels_neuron.finish_all(
        sums, hit, scale, flat, drive, numbers, out.keep, out.values[0], out.words[0], True, out.count[0],
        out.first[0], out.list[0], NO_DUE, NO_AWAKE, found,
    )  # fmt: skip
    return found.tolist()


@st.composite
def convolutions(draw):
    """Any kernel, stride and padding, groups, an average pool behind it; its input and both results."""
    rng = np.random.default_rng(draw(seeds))
    k, stride, padding = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    groups = draw(st.sampled_from([1, 1, 2]))
    H, W = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    size, step = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 2)]))
    cin, cout = groups * draw(st.integers(1, 2)), groups * draw(st.sampled_from([1, 4]))
    kernel = expanded(rng.integers(-9, 10, (cout, cin // groups, k, k)).astype(float), groups)
    sizes = [(n + 2 * padding - k) // stride + 1 for n in (H, W)]
    if min(H, W) + 2 * padding < k or min(sizes) < size:
        return None
    full = (cout, *sizes)
    after = (cout, *((n - size) // step + 1 for n in sizes))
    wide, strides = averaged(kernel, stride, size, step)
    convolution = Convolution(wide, strides, padding, (cin, H, W), after)
    values = (rng.random((cin, H, W)) < 0.5).astype(np.uint8) * draw(st.sampled_from([1, 1, 3]))
    wanted = slow.average(slow.conv(values, kernel, stride, padding, full), size, step, after)
    return convolution, values, wanted
