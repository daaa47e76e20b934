"""How far does the time-averaged frame alone get? Classifiers without time on the model's own task.

    python tools/baselines.py [--clips 3600] [--test 1440] [--json FILE]

Nearest centroid and logistic regression on the mean count frame of a sample (raw, log and unit norm),
and a small CNN on it. Trained on the training people, tested on the test people, on the same windows as
`spikeline evaluate`. If these were as good as the network, the task would not need a spiking one.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from spikeline.pipeline.evaluation import wilson
from spikeline.pipeline.training.clips import ClipSet
from spikeline.pipeline.training.data import CutConfig, load_set
from spikeline.pipeline.training.sets import open_set

SLICES = 40  # of 25 ms: the 20 windows of 50 ms of a sample
VIEWS = {
    "raw": lambda x: x,
    "log": np.log1p,
    "unit": lambda x: x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9),
}


def mean_frames(clips: ClipSet) -> np.ndarray:
    """(N, 2 * 32 * 32) float32: mean count per window of 50 ms."""
    sums = [clips.clip(i)[:SLICES].sum(0, dtype=np.float32).ravel() for i in range(len(clips))]
    return np.stack(sums) / (SLICES / 2)


def cnn(train: np.ndarray, labels: np.ndarray, test: np.ndarray, epochs: int = 30) -> np.ndarray:
    """Predictions of three conv layers on the log mean frame, with shifts as augmentation."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    shape = (-1, 2, 32, 32)
    x = np.log1p(train).reshape(shape)
    net = nn.Sequential(
        *(nn.Conv2d(2, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, 12)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    steps = len(x) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for k in range(steps):
            chosen = order[k * 64 : k * 64 + 64]
            batch = np.stack([np.roll(x[i], tuple(rng.integers(-2, 3, 2)), (1, 2)) for i in chosen])
            loss = nn.functional.cross_entropy(net(torch.from_numpy(batch)), torch.from_numpy(labels[chosen]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.inference_mode():
        return net(torch.from_numpy(np.log1p(test).reshape(shape))).argmax(1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=3600)
    parser.add_argument("--test", type=int, default=1440)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--json")
    options = parser.parse_args()
    train, test = (
        load_set(open_set(f"sim:gesture?split={split}&clips={count}"), CutConfig(), options.cache)
        for split, count in (("train", options.clips), ("test", options.test))
    )
    x, y = mean_frames(train), mean_frames(test)
    found = {}
    for name, view in VIEWS.items():
        found[f"nearest centroid, {name}"] = NearestCentroid().fit(view(x), train.labels).predict(view(y))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=500))
        found[f"logistic regression, {name}"] = model.fit(view(x), train.labels).predict(view(y))
    found["CNN"] = cnn(x, train.labels, y)
    rows = {}
    for name, predicted in found.items():
        right = int((predicted == test.labels).sum())
        rows[name] = right / len(test)
        low, high = wilson(right, len(test))
        print(f"{name:28s} {right / len(test):6.1%}  (95 % interval {low:.1%} to {high:.1%})", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"train": len(train), "test": len(test), **rows}, indent=1))


if __name__ == "__main__":
    main()
