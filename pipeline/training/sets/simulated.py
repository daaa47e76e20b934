"""`sim:TASK?seed=1&level=normal&clips=2400`: clips of the simulator, any number of them, drawn from the seed.

Without `split`, `clips` of the training people and `validation` of the validation people (a fifth as many
where nobody says); with it, `clips` of that split's people.
"""

from collections.abc import Mapping
from typing import Any

from spikeline.drivers import uri as grammar
from spikeline.drivers.sim.tasks import TASKS, Task
from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.dataset import Clip, DataSet, Events, EventSet
from spikeline.pipeline.training.sets.digit_images import digit_images

CLIPS = 2_400
OPTIONS = ("seed", "level", "clips", "validation", "split", "duration_s")


class SimulatedSet(EventSet):
    """Clips of one task. A clip's key is its split and number."""

    def __init__(self, task: Task, seed: int, wanted: Mapping[str, int], options: dict[str, Any]) -> None:
        self.task, self.seed, self.options = task, seed, options
        self.name = f"simulated {task.name}, {options['level']}"
        self.labels, self.flipped, self.sensor = task.labels, task.flipped, task.sensor
        self.given = {"images": digit_images()} if "images" in task.needs else {}
        self.key = f"sim:{task.name} {task.version} {seed} {sorted(options.items())}"
        self.clips = tuple(
            Clip(f"{split}/{index}", drawn.label, drawn.person, split)
            for split, count in wanted.items()
            for index in range(count)
            for drawn in [self.draw(split, index)]
        )

    def draw(self, split: str, index: int) -> Any:
        """All numbers of a clip, as the simulator keeps them; a manifest is written from it."""
        return self.task.draw(self.seed, split=split, index=index, **self.options, **self.given)

    def events(self, clip: Clip) -> Events:
        split, _, index = clip.key.partition("/")
        drawn = self.draw(split, int(index))
        return Events(*self.task.simulate(drawn), origin_us=0, until_us=drawn.duration_us)


def open_it(place: str, options: dict[str, str], where: str) -> DataSet:
    if place not in TASKS:
        raise SourceError(f"{where}: no task {place!r}; choose from {', '.join(TASKS)}")
    task = TASKS[place]
    grammar.only(options, {*OPTIONS, *task.options}, where)
    clips = grammar.whole(options, "clips", CLIPS, where)
    held = grammar.whole(options, "validation", 0 if "split" in options else clips // 5, where)
    if clips < 0 or held < 0 or clips + held == 0:
        raise SourceError(f"{where}: {clips} and {held} clips; wanted 0 or more, and not none")
    split = grammar.choice(options, "split", task.splits, where)
    wanted = {split: clips} if split else {"train": clips, "validation": held}
    drawn: dict[str, Any] = {key: value for key, value in options.items() if key in task.options}
    drawn["level"] = grammar.choice(options, "level", task.levels, where) or "normal"
    drawn["duration_s"] = grammar.number(options, "duration_s", task.duration_s, where)
    try:
        return SimulatedSet(task, grammar.whole(options, "seed", 1, where), wanted, drawn)
    except (ValueError, TypeError) as error:
        raise SourceError(f"{where}: {error}") from error
