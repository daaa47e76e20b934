"""Training samples a second, beside SpikingJelly's multi-step training, in one run.

MA-SNN's three-layer network (LIF with tau 2, hard reset, ATan surrogate) from the same weights, on the same
seeded batches, with the same loss (MSE of mean spikes) and Adam. First both train on a few batches in
float64, where losses and weights must agree to the last digits: it is the same computation. In float32 they
agree until rounding flips a first spike, and part then as any two orders of summation do.
Then they take turns, a batch each, and the first two rounds are thrown away. Times are wall clock; medians,
quartiles, and the ratio of every pair.

    python tools/bench_training.py [--width 1] [--steps 20] [--batch 16] [--threads 1] [--rounds 15]
                                   [--same 8] [--profile] [--json FILE]

--width: channels as a share of the paper's 64, 128, 128 and 256. bf16: ours alone, it has its own row.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--width", type=float, default=1.0)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--same", type=int, default=8, help="batches whose losses are compared")
parser.add_argument("--profile", action="store_true", help="where ours spends its time, and nothing else")
parser.add_argument("--json", default="")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before anything that reads it is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from spikeline.models.registry import build  # noqa: E402
from spikeline.pipeline.training.machine import open_machine  # noqa: E402

CLASSES, GRID, DENSITY, RATE = 11, (32, 32), 0.05, 1e-3
CHANNELS = tuple(max(1, round(n * options.width)) for n in (64, 128, 128, 256))


def ours():
    torch.manual_seed(0)
    return build(
        "masnn3",
        classes=CLASSES,
        steps=options.steps,
        channels=CHANNELS[:3],
        hidden=CHANNELS[3:],
        neuron="lif_sj",
        surrogate="atan",
        surrogate_width=2.0,
    ).train()


def spikingjelly(network):
    """The same layers and weights, as SpikingJelly's users write them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def node():
        return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(alpha=2.0), step_mode="m")

    parts = []
    inputs = 2
    for channels, pool in zip(CHANNELS[:3], (1, 2, 2), strict=True):
        parts += [layer.Conv2d(inputs, channels, 3, padding=1), layer.BatchNorm2d(channels)]
        parts += [layer.AvgPool2d(pool)] if pool > 1 else []
        parts += [node()]
        inputs = channels
    parts += [layer.Flatten()]
    size = inputs * (GRID[0] // 4) * (GRID[1] // 4)
    for units in (CHANNELS[3], CLASSES):
        parts += [layer.SeqToANNContainer(nn.Linear(size, units), nn.BatchNorm1d(units)), node()]
        size = units
    other = nn.Sequential(*parts)
    functional.set_step_mode(other, "m")
    own = dict(zip(other.state_dict(), network.state_dict().values(), strict=True))
    other.load_state_dict(own)

    def forward(frames):
        functional.reset_net(other)
        return other(frames)

    return other.train(), forward


def stream(count, steps=options.steps, batch=options.batch):
    """Frames (T, B, 2, H, W) of 1 to 3 events where there are any, and labels."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        shape = (steps, batch, 2, *GRID)
        frames = (rng.random(shape) < DENSITY) * rng.integers(1, 4, shape)
        labels = rng.integers(0, CLASSES, batch)
        yield torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(labels)


def trainer(network, forward):
    """A function of a batch: one step of Adam; returns the loss."""
    optimiser = torch.optim.Adam(network.parameters(), RATE)

    def train(frames, labels):
        loss = F.mse_loss(forward(frames).mean(0), F.one_hot(labels, CLASSES).to(frames.dtype))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

    return train


def contestants():
    first, third = ours(), ours()
    found = {"spikeline float32": trainer(first, lambda x: first.over_time(x)[0])}
    found["spikingjelly float32"] = trainer(*spikingjelly(ours()))
    found["spikeline bf16"] = trainer(third, lambda x: third.over_time(x, bf16=True)[0])
    return found


def compare_losses():
    """Float64 losses on a smaller batch, and how far they are apart; then those of every contestant."""
    one, two = ours().double(), ours()
    other, forward = spikingjelly(two)
    other.double()
    pair = trainer(one, lambda x: one.over_time(x)[0]), trainer(other, forward)
    exact = [[train(x.double(), y) for train in pair] for x, y in stream(options.same, 8, 4)]
    apart = max(abs(a - b) / b for a, b in exact)
    print("float64, ours          losses " + " ".join(f"{a:.9f}" for a, _ in exact))
    print("float64, spikingjelly  losses " + " ".join(f"{b:.9f}" for _, b in exact))
    weights = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    weights_apart = max(float((a - b).abs().max() / (b.abs().max() + 1e-30)) for a, b in weights)
    print(f"largest difference: {apart:.1e} of the loss, {weights_apart:.1e} of the weights after them")
    trainers = contestants()
    losses = {name: [] for name in trainers}
    for batch in stream(options.same):
        for name, train in trainers.items():
            losses[name].append(train(*batch))
    for name, values in losses.items():
        print(f"{name:22s} losses " + " ".join(f"{value:.5f}" for value in values))
    return {"float64": exact} | losses, {"losses": apart, "weights": weights_apart}


def take_turns():
    trainers = contestants()
    times = {name: [] for name in trainers}
    for k, batch in enumerate(stream(options.rounds + 2)):
        for name in list(trainers)[k % 3 :] + list(trainers)[: k % 3]:
            began = time.perf_counter()
            trainers[name](*batch)
            times[name].append(time.perf_counter() - began)
    return {name: values[2:] for name, values in times.items()}


def profile():
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    network = ours()
    train = trainer(network, lambda x: network.over_time(x)[0])
    seen = list(stream(6))
    train(*seen[0])
    before = resource.getrusage(resource.RUSAGE_SELF)
    with watch(activities=[ProfilerActivity.CPU]) as found:
        for batch in seen[1:]:
            train(*batch)
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=44))
    print(f"CPU: {user / 5:.3f} s of the process and {system / 5:.3f} s of the kernel a batch")


def main():
    torch.set_num_threads(options.threads)
    if options.profile:
        profile()
        return
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__},"
        f" SpikingJelly {version('spikingjelly')}, T {options.steps}, batch {options.batch},"
        f" channels {CHANNELS}"
    )
    losses, apart = compare_losses()
    times = take_turns()
    samples = {name: [options.batch / t for t in values] for name, values in times.items()}
    for name, values in samples.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:22s} {middle:8.1f} samples/s  (quartiles {low:.1f} to {high:.1f})")
    base = times["spikingjelly float32"]
    ratios = {}
    for name in ("spikeline float32", "spikeline bf16"):
        pairs = [b / a for a, b in zip(times[name], base, strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4)
        ratios[name] = [low, middle, high]
        print(f"{name:22s} {middle:8.2f} x SpikingJelly  (quartiles {low:.2f} to {high:.2f})")
    if options.json:
        facts = {"options": vars(options), "losses": losses, "apart": apart}
        facts |= {"times_s": times, "ratios": ratios}
        Path(options.json).write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    with open_machine("cpu", options.threads):
        main()
