"""Labelled data sets by URI, one file for each layout. `open_set` opens any of them; docs/data.md lists all.

    open_set("sim:gesture?seed=1&clips=2400")     open_set("npz:clips.npz")     open_set("DVSGesture:FOLDER")

A layout's module has `open_it(place, options, where)`: what stands behind the colon, the options behind the
question mark, and what to call the set in an error. It is imported when a set of that layout is opened.
"""

import os
from importlib import import_module

from spikeline.drivers import uri as grammar
from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.dataset import DataSet
from spikeline.pipeline.training.sets.files import SPLITS

MODULES = {
    "npz": "npz",
    "folder": "folder",
    "csv": "cut_list",
    "sim": "simulated",
    "DVSGesture": "dvs_gesture",
    "IBMGesture": "ibm_gesture",
    "DVSGait": "gait",
    "NMNIST": "nmnist",
    "CIFAR10DVS": "cifar10dvs",
    "tonic": "tonic_set",
    "images": "pictures",
    "CIFAR10": "pictures",
    "CIFAR100": "pictures",
    "MNIST": "pictures",
}


def open_set(uri: str) -> DataSet:
    """The data set that a URI names. Raises SourceError: one line, what was found and what was wanted.

    Every set takes `split`, train, validation or test: only these clips; and `flip=same`: a picture flipped
    left to right is of the same class.
    """
    kind, place, options = _parts(uri)
    flip = grammar.choice(options, "flip", ("same",), uri)
    split = grammar.choice(options, "split", SPLITS, uri)
    rest = {key: value for key, value in options.items() if key != "flip"}
    module = import_module(f"{__name__}.{MODULES[kind]}")
    data: DataSet = module.open_it(place, rest, uri)
    if split is not None:
        found = sorted({clip.split or "no split" for clip in data.clips})
        data.clips = tuple(clip for clip in data.clips if clip.split == split)
        if not data.clips:
            raise SourceError(f"{uri}: no clip is of split {split}; found {', '.join(found)}")
        data.name = f"{data.name}, split {split}"
    if flip:
        data.flipped = tuple(range(len(data.labels)))
    return data


def _parts(uri: str) -> tuple[str, str, dict[str, str]]:
    """(kind, place, options); a path that exists names its kind itself."""
    if os.path.exists(uri):
        return _kind_of_path(uri), uri, {}
    named, colon, rest = uri.partition(":")
    kind = next((kind for kind in MODULES if kind.lower() == named.lower()), "")
    if not colon or not kind:
        base, _, query = uri.rpartition("?")
        if base and os.path.exists(base):
            return _kind_of_path(base), base, grammar.split_options(query, "&", uri)
        raise SourceError(f"{uri}: no such data set; wanted one of {_known()}")
    rest = os.path.expanduser(rest)  # a shell leaves ~ alone behind a colon
    if os.path.exists(rest):
        return kind, rest, {}
    place, question, query = rest.rpartition("?")  # the last one: a path may hold others
    return kind, place if question else rest, grammar.split_options(query if question else "", "&", uri)


def _kind_of_path(path: str) -> str:
    for ending, kind in ((".npz", "npz"), (".csv", "csv")):
        if path.endswith(ending) and os.path.isfile(path):
            return kind
    example = "folder" if os.path.isdir(path) else "npz"
    raise SourceError(f"{path}: wanted its kind before it, such as {example}:{path}; known are {_known()}")


def _known() -> str:
    return ", ".join(f"{kind}:" for kind in MODULES)
