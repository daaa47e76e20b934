"""Model packages: what is written is read back, and nothing else is."""

import hashlib
import json
import re
import struct

import numpy as np
import pytest
import safetensors.numpy

from spikeline.pipeline.package import BLANK, PackageError, load_package, parse, save_package, zoo

from helpers import small_graph, small_manifest


@pytest.fixture
def file(tmp_path):
    graph = small_graph(3, refine=("ca", "sa"))
    return save_package(tmp_path / "small.safetensors", small_manifest(graph), graph).path


def resealed(data, change):
    """The file with its metadata changed by `change(metadata)`, and a digest that is right again."""
    metadata = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])["__metadata__"]
    tensors = safetensors.numpy.load(data)
    metadata["digest"] = BLANK
    change(metadata, tensors)
    data = safetensors.numpy.save(tensors, metadata=metadata)
    return data.replace(BLANK.encode(), hashlib.sha256(data).hexdigest().encode())


def test_a_package_is_read_back_as_it_was_written(file):
    package = load_package(file)
    graph = small_graph(3, refine=("ca", "sa"))
    assert package.manifest == small_manifest(graph)
    assert package.graph.document == graph.document
    for name, tensor in graph.tensors.items():
        np.testing.assert_array_equal(package.graph.tensors[name], tensor)


def test_the_same_model_is_the_same_file(file, tmp_path):
    package = load_package(file)
    for k in range(5):
        again = save_package(tmp_path / f"{k}.safetensors", package.manifest, package.graph)
        assert again.digest == package.digest and again.path.read_bytes() == file.read_bytes()


def test_the_digest_is_that_of_the_file_with_its_own_characters_zero(file):
    data = file.read_bytes()
    digest = load_package(file).digest
    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_none_of_a_thousand_mutations_loads(file):
    """Truncated, single and sixteen bit flips, noise blocks, header bytes, swapped blocks: all refused."""
    data = file.read_bytes()
    rng = np.random.default_rng(20)
    loaded, tried = 0, 0
    while tried < 1_000:
        mutant = mutate(data, rng, tried % 6)
        if mutant == data:
            continue
        tried += 1
        loaded += accepted(mutant)
    assert loaded == 0


def accepted(data):
    try:
        parse(data)
    except PackageError as error:
        return "\n" in str(error)  # one line, or it counts as a failure too
    return True


def mutate(data, rng, kind):
    a = bytearray(data)
    if kind == 0:
        return bytes(a[: rng.integers(len(a))])
    if kind in (1, 2):
        for i in rng.integers(len(a), size=1 if kind == 1 else 16):
            a[i] ^= 1 << rng.integers(8)
    elif kind == 3:
        i = rng.integers(len(a) - 64)
        a[i : i + 64] = rng.bytes(64)
    elif kind == 4:
        a[rng.integers(min(4_000, len(a)))] = rng.integers(256)
    else:
        i, j = sorted(rng.choice(len(a) - 128, 2, replace=False))
        a[i : i + 64], a[j : j + 64] = a[j : j + 64], a[i : i + 64]
    return bytes(a)


def manifest_change(**changes):
    def change(metadata, tensors):
        manifest = json.loads(metadata["manifest"])
        manifest.update(changes)
        metadata["manifest"] = json.dumps(manifest)

    return change


def tensor_change(name, value):
    def change(metadata, tensors):
        tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: m.update(format="2"), "package format '2'; this version reads 1"),
        (manifest_change(labels=["a"]), "labels: found 1, wanted 3"),
        (manifest_change(labels=["a", "a", "b"]), "labels: one stands twice"),
        (manifest_change(grid=[8, 8]), "grid: found 8x8"),
        (manifest_change(dt_us=0), "dt_us: found 0"),
        (manifest_change(dt_us=20_000), "dt_us: 20000 lies outside"),
        (manifest_change(skip={"rule": "idle", "max_ratio": 1.5}), "skip.max_ratio"),
        (manifest_change(shape="round"), "shape"),
        (
            tensor_change("c1.bias", np.array([0, 1, 2, np.inf, 4, 5], np.float32)),
            "tensor c1.bias: found a value",
        ),
        (tensor_change("c1.bias", np.zeros(7, np.float32)), "tensor c1.bias: found shape (7,), wanted 6"),
        (lambda m, t: t.pop("c1.bias"), "tensor c1.bias: missing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_even_with_a_right_digest(file, change, message):
    with pytest.raises(PackageError, match=re.escape(message)):
        parse(resealed(file.read_bytes(), change))


def test_a_right_digest_alone_is_accepted(file):
    parse(resealed(file.read_bytes(), lambda metadata, tensors: None))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .safetensors file"),
        (b"\xff" * 100, "not a .safetensors file"),
        (safetensors.numpy.save({"a": np.zeros(1, np.float32)}), "holds no digest"),
    ],
)
def test_other_files_are_named(data, message):
    with pytest.raises(PackageError, match=message):
        parse(data)


def test_a_missing_model_names_the_shipped_ones():
    with pytest.raises(PackageError, match="no such file or shipped package; wanted a"):
        load_package("no-such-model")


@pytest.mark.parametrize("name", zoo())
def test_every_shipped_package_loads_and_is_small(name):
    path = zoo()[name]
    package = load_package(name)
    assert package.manifest.name == name
    assert path.stat().st_size < 2 << 20
