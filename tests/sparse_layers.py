"""What tests of the spike-driven engine's kernels are given: spikes, convolutions, neurons, lines."""

import numba
import numpy as np
import slow_sparse as slow
from hypothesis import settings
from hypothesis import strategies as st

from spikeline.pipeline.engines.sparse.costs import Costs
from spikeline.pipeline.engines.sparse.geometry import Convolution, averaged, expanded
from spikeline.pipeline.engines.sparse.lines import Line, NeuronsLine, Threads
from spikeline.pipeline.engines.sparse.neurons import Neurons
from spikeline.pipeline.engines.sparse.program import padded
from spikeline.pipeline.engines.sparse.spikes import Spikes
from spikeline.pipeline.engines.sparse.stages import Rooms, Step, Walk

COMPILED = not numba.config.DISABLE_JIT
examples = settings(deadline=None, max_examples=100 if COMPILED else 25)
seeds = st.integers(0, 2**32 - 1)
CHANNELS = [1, 3, 10, 16, 17, 32, 40, 64, 70, 130]  # that fill a vector, and that do not
CHEAP_ADDS, ONE_THREAD = Costs(add=1e-6), Threads(1)
NO_FRAMES = np.zeros((1, 0, 0, 0), np.uint16)
CELL = np.array([0.7, 0.6, 0.5, 0.1, 0.2, -0.3], np.float32)  # a, threshold, p0, q0, p1, q1


def last(values):
    """(C, H, W) as (P, C)."""
    return values.reshape(len(values), -1).T


def flat(values):
    """(C, H, W) as (P C,) float32."""
    return np.ascontiguousarray(last(values), np.float32).ravel()


def spikes_of(values, **settings_):
    """Values (C, H, W) in a room for spikes of one stream."""
    spikes = Spikes(1, values.shape, most=max(1, int(values.max())), **settings_)
    spikes.collect(0, flat(values))
    return spikes


def held(index, shape, most=1):
    """A line of spikes that the test enters by hand."""
    line = Line(f"held{index}", index, shape, most)
    line.listed = True
    return line


def float_neurons(shape, drive, numbers=CELL, *, lazy=False):
    return Neurons("layer", shape, drive.astype(np.float32), numbers.astype(np.float32), 1.0, lazy)


def whole_neurons(shape, units, *, lazy=False):
    return Neurons("layer", shape, units.drive, units.numbers, 1.0, lazy, units)


class Walked:
    """A program's lines, walked one step after another. The last is what a test looks at."""

    def __init__(self, *lines, batch=1):
        own = [line for line in lines if isinstance(line, NeuronsLine)]
        whole = any(line.neurons.whole is not None for line in own)
        self.states = {f"{line.name}.h": np.zeros((batch, *line.shape), np.float32) for line in own}
        self.rooms = Rooms(list(lines), self.states, batch)
        self.line = lines[-1]
        self.walk = Walk(np.int16(0) if whole else np.float32(0), 0)
        self.walk.lines = list(lines)

    @property
    def spikes(self):
        return self.rooms.spikes[self.line.name]

    @property
    def h(self):
        """The last line's membranes (B, P, C), those of its own channels."""
        C = self.line.shape[0]
        h = self.rooms.membranes[self.line.name].h
        return h.reshape(len(h), -1, padded(C))[..., :C]

    @property
    def own(self):
        """What the program says of the last line, for the first stream."""
        return self.rooms.program[self.line.index, 0]

    def step(self, *values, frames=NO_FRAMES, taken=False):
        """A step of the first stream. values (C, H, W): of the lines that are held; where all are 0, these
        have what was there before."""
        for line, x in zip(self.walk.lines, values, strict=False):
            spikes = self.rooms.spikes[line.name]
            if x.any():
                spikes.collect(0, flat(x))
            else:
                spikes.total[0] = 0
        self.rooms.now += 1
        step = Step(frames, self.states, self.rooms.now, self.rooms, [0], taken)
        self.walk.run(step)
        return step

    def clipped(self):
        """How many were, since this was last asked."""
        n, self.rooms.program["clipped"] = int(self.rooms.program["clipped"].sum()), 0
        return n


def assert_listed(spikes, values):
    """The room holds these values (C, H, W), in order, and nothing else."""
    count, entries, begin, end = slow.lists(values.astype(int))
    assert spikes.total[0] == (values > 0).sum()
    if not values.any():
        return  # where nothing is, arrays hold what was there before
    np.testing.assert_array_equal(spikes.count[0], count)
    np.testing.assert_array_equal(spikes.words[0].reshape(len(count), -1), slow.bits(values, spikes.lanes))
    if spikes.listed:
        first, after = spikes.begin[0][: len(count)], spikes.end[0][: len(count)]
        np.testing.assert_array_equal(after - first, np.subtract(end, begin))
        found = [e for b, e in zip(first, after, strict=True) for e in spikes.entries[0][b:e].tolist()]
        assert found == entries
        rows = after.reshape(-1, spikes.width)[:, :-1]  # a row's entries stand one behind the other
        np.testing.assert_array_equal(rows, first.reshape(-1, spikes.width)[:, 1:])


@st.composite
def layers(draw, *, most=1):
    """Sparse values (C, H, W) with channels in whole vectors and not."""
    shape = draw(st.sampled_from(CHANNELS)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    rate = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return ((rng.random(shape) < rate) * rng.integers(1, most + 1, shape)).astype(np.uint8)


@st.composite
def convolutions(draw, outputs=(1, 4, 20)):
    """Any kernel, stride and padding, groups, an average pool behind it; an input; what comes of inputs."""
    rng = np.random.default_rng(draw(seeds))
    k, stride, padding = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 4))
    groups = draw(st.sampled_from([1, 1, 2]))
    W = draw(st.sampled_from([1, 2, 3, 5, 7, 20, 70]))
    H = draw(st.integers(1, 7 if W < 70 else 2))
    size, step = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 2)]))
    cin, cout = groups * draw(st.integers(1, 2)), groups * draw(st.sampled_from(outputs))
    sizes = [(n + 2 * padding - k) // stride + 1 for n in (H, W)]
    if min(H, W) + 2 * padding < k or min(sizes) < size:
        sizes, k, padding, size = [(n - 1) // stride + 1 for n in (H, W)], 1, 0, 1
    kernel = expanded(rng.integers(-9, 10, (cout, cin // groups, k, k)).astype(float), groups)
    full = (cout, *sizes)
    after = (cout, *((n - size) // step + 1 for n in sizes))
    wide, strides = averaged(kernel, stride, size, step)
    convolution = Convolution(wide, strides, padding, (cin, H, W), after)
    values = (rng.random((cin, H, W)) < 0.5).astype(np.uint8) * draw(st.sampled_from([1, 1, 3]))

    def wanted(x):
        return slow.average(slow.conv(x, kernel, stride, padding, full), size, step, after)

    return convolution, values, wanted
