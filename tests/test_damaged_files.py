"""A file of every format that ends at any byte, or has a hole in it: what is whole is read, the rest is told.

A hole is up to 1 KiB of noise in the middle. It may cost the units it touches (records, packets, chunks), and
one in a hundred of the events outside of them. `make test-long` does more of both.
"""

import io

import h5py
import pytest
from damage import cut_sizes, holes, wrong_at_cut, wrong_at_hole
from format_files import FILES, make
from made import seeded_stream

EACH = pytest.mark.parametrize("name", FILES)
CUTS = 60  # sizes tried where not all are
SLOW = ("hdf5-columns", "hdf5-matrix", "hdf5-ecf")  # a process of its own looks at each file first


def check_cuts(name, folder, count):
    events = seeded_stream(300)
    made = make(name, events)
    path = folder / FILES[name].file
    sizes = cut_sizes(made, count)
    wrong = {size: why for size in sizes if (why := wrong_at_cut(name, made, events, path, size))}
    assert wrong == {}


@EACH
def test_a_file_that_ends_early_gives_all_that_is_whole_and_says_so(name, tmp_path):
    check_cuts(name, tmp_path, CUTS if name not in SLOW else CUTS // 5)


def test_a_list_of_chunks_that_is_cut_makes_no_events_of_zeros(tmp_path):
    """HDF5 lists a chunk whose place is cut, but does not find it, and then says zeros."""
    events = seeded_stream(300)
    made = make("hdf5-matrix", events)
    with h5py.File(io.BytesIO(made.data)) as file:
        at = file["davis/left/events"].id
        places = [at.get_chunk_info(k).byte_offset for k in range(at.get_num_chunks())]
    for place in places:
        size = made.data.index(place.to_bytes(8, "little")) + 1
        assert wrong_at_cut("hdf5-matrix", made, events, tmp_path / "cut.h5", size) == ""


@pytest.mark.full
@pytest.mark.timeout(600)
@EACH
def test_a_file_that_ends_at_any_byte(name, tmp_path):
    check_cuts(name, tmp_path, None if name not in SLOW else 10 * CUTS)


@EACH
def test_a_hole_costs_what_it_touches(name, tmp_path):
    events = seeded_stream(20_000)
    made = make(name, events)
    path = tmp_path / FILES[name].file
    found = [wrong_at_hole(name, made, events, path, hole) for hole in holes(made, 4 if name in SLOW else 12)]
    assert [why for why, _ in found if why] == []
