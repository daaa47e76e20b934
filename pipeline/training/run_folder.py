"""What a run leaves behind: config.json, curve.csv, curve.png, checkpoint.pt."""

import csv
import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from spikeline.pipeline.training.errors import TrainingError
from spikeline.pipeline.training.settings import TrainConfig


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch did: losses and accuracies 0..1, spikes per neuron and step, seconds taken."""

    epoch: int
    loss: float
    train_accuracy: float
    accuracy: float
    skipped_accuracy: float  # with half of the windows skipped: at random, or by the gate
    nasar: float
    seconds: float


class RunFolder:
    """`begin` makes a new run's; `keep` adds an epoch; `checkpoint` reads what a run goes on from."""

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self._config = asdict(config)

    def begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "config.json").write_text(json.dumps(self._config, indent=1))
        (self.path / "curve.csv").unlink(missing_ok=True)

    def keep(self, figures: Epoch, state: dict[str, Any]) -> None:
        self._record(figures)
        partial = self.path / "checkpoint.partial"
        torch.save(state | {"config": json.dumps(self._config)}, partial)
        partial.replace(self.path / "checkpoint.pt")

    def checkpoint(self, device: torch.device) -> dict[str, Any]:
        path = self.path / "checkpoint.pt"
        if not path.is_file():
            raise TrainingError(f"{path}: nothing to resume; start without --resume")
        saved = torch.load(path, weights_only=True, map_location=device)
        if saved["config"] != json.dumps(self._config):
            raise TrainingError(f"{path}: made with other settings; wanted those of its config.json")
        self._cut_curve(saved["epoch"])
        return saved

    def _cut_curve(self, epochs: int) -> None:
        """A run that died between its curve and its checkpoint does that epoch again."""
        curve = self.path / "curve.csv"
        lines = curve.read_text().splitlines(keepends=True)
        if len(lines) > 1 + epochs:
            curve.write_text("".join(lines[: 1 + epochs]))

    def _record(self, figures: Epoch) -> None:
        row = {name: f"{getattr(figures, name):.6g}" for name in Epoch.__slots__}
        path = self.path / "curve.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def draw_curve(folder: Path) -> bool:
    """curve.png of curve.csv: losses and accuracies by epoch. False where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    with (folder / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) + 1 for row in rows]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [float(row["loss"]) for row in rows], color="tab:red")
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    for column, label in (("train_accuracy", "training, augmented"), ("accuracy", "validation")):
        right.plot(epochs, [100 * float(row[column]) for row in rows], label=label)
    right.set(xlabel="epoch", ylabel="right, %", ylim=(None, 100))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "curve.png", dpi=120)
    return True
