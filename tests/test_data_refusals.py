"""What is missing or malformed in a data set is refused in one line that names it."""

import re
import shutil

import numpy as np
import pytest
from data_trees import (
    CIFAR,
    Tree,
    cifar10dvs,
    cut_list,
    events_of,
    folder,
    gait,
    ibm_gesture,
    nmnist_set,
    npz_set,
    spikingjelly_gesture,
    tonic_gesture,
)
from mutations import mutated
from scipy.io import savemat
from test_data_pictures import cifar, idx

from spikeline.pipeline.events import SourceError
from spikeline.pipeline.training.sets import open_set


def refused(uri, wanted, *, read=False):
    def opened_and_read():
        data = open_set(uri)
        for clip in data.clips if read else ():
            list(data.packets(clip))

    with pytest.raises(SourceError, match=wanted) as caught:
        opened_and_read()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("nothing", "nothing: no such data set; wanted one of npz:, folder:, "),
        ("DVSGestures:x", "no such data set"),
        ("npz:absent.npz", "absent.npz: .*No such file"),
        ("folder:absent", "absent is no folder"),
        ("csv:absent.csv", "absent.csv: cannot be read: No such file"),
        ("sim:walk", "no task 'walk'; choose from gesture"),
        ("sim:gesture?clips=none", "clips=none; wanted a whole number"),
        ("sim:gesture?clips=0", "0 and 0 clips; wanted 0 or more, and not none"),
        ("sim:gesture?level=odd", "level=odd; choose from easy, normal, hard"),
        ("sim:gesture?people=3", "unknown option people; choose from camera, clips"),
        ("sim:gesture?split=all", "split=all; choose from train, validation, test"),
        ("sim:gesture?clips=1&flip=other", "flip=other; choose from same"),
        ("sim:gesture?clips=1&camera=Nikon", "camera"),
        ("tonic:NMNIST", "wanted tonic:NAME:FOLDER"),
    ],
)
def test_a_uri_that_names_no_set(tmp_path, monkeypatch, uri, wanted):
    monkeypatch.chdir(tmp_path)
    refused(uri, wanted)


def test_a_path_without_its_kind(tmp_path):
    refused(f"{tmp_path}", "wanted its kind before it, such as folder:")
    (tmp_path / "a.aedat4").write_bytes(b"")
    refused(f"{tmp_path / 'a.aedat4'}", "wanted its kind before it, such as npz:")


@pytest.mark.parametrize("kind", ["IBMGesture", "DVSGesture", "DVSGait", "NMNIST", "CIFAR10DVS", "folder"])
def test_an_empty_folder(tmp_path, kind):
    refused(f"{kind}:{tmp_path}", "wanted")
    refused(f"{kind}:{tmp_path}?colour=red", "unknown option colour; choose from damaged, sensor, split")


def changed(path, **changes):
    with np.load(path) as stored:
        entries = {name: stored[name] for name in stored.files}
    entries |= {name: value for name, value in changes.items() if value is not None}
    for name in [name for name, value in changes.items() if value is None]:
        del entries[name]
    np.savez(path, **entries)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"t": None}, "holds no t"),
        ({"offsets": None}, "no entry offsets; wanted integers in a labelled set"),
        ({"labels": None}, "no entry labels"),
        ({"width": None}, "no entry width"),
        ({"labels": np.arange(5)}, r"labels is int64 of shape \(5,\); wanted \(6,\)"),
        ({"labels": np.full(6, -1)}, "a label is -1; wanted 0 or more"),
        ({"labels": np.full(6, 7)}, "3 names; wanted 8 or more for labels up to 7"),
        ({"offsets": np.array([0, 5, 3, 6, 7, 8, 9])}, "offsets of shape"),
        ({"offsets": np.arange(7) * 1_000}, "offsets reach 6000; the file has 2400 events"),
        ({"persons": np.zeros(6)}, "persons is float64"),
        ({"splits": np.array(["train"] * 5 + ["exam"])}, "splits exam; wanted train, validation, test"),
        ({"width": np.array([1, 2])}, "width or height is"),
        ({"p": np.full(2_400, 3)}, "p holds 3; wanted bool, 0/1 or -1/"),
        ({"x": np.zeros(10, int)}, "columns of the shapes"),
        ({"y": np.zeros(2_400)}, "y is float64; wanted integers"),
        ({"labels": np.array([None] * 6)}, "Object arrays cannot be loaded"),
    ],
)
def test_a_labelled_set_that_is_malformed(tmp_path, changes, wanted):
    tree = npz_set(tmp_path)
    changed(tmp_path / "set.npz", **changes)
    refused(tree.uri, wanted, read=True)


def test_a_labelled_set_that_is_cut(tmp_path):
    tree = npz_set(tmp_path)
    path = tmp_path / "set.npz"
    path.write_bytes(path.read_bytes()[:3_000])
    refused(tree.uri, "set.npz: ")


IBM = "DvsGesture/user02_led_labels.csv"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "class,start,end\n1,2,3\n",
            "columns are class, start, end; wanted class,starttime_usec,endtime_usec",
        ),
        (
            "class,startTime_usec,endTime_usec\n12,1,2\n",
            "labels.csv line 2: class 12, 1 to 2 us; wanted 1 to 11",
        ),
        ("class,startTime_usec,endTime_usec\n1,5,5\n", "line 2: class 1, 5 to 5 us"),
        (
            "class,startTime_usec,endTime_usec\n\n1,x,5\n",
            "line 3: starttime_usec is 'x'; wanted a whole number",
        ),
        ("class,startTime_usec,endTime_usec\n1,5\n", "line 2: 2 cells; wanted 3"),
        ("", "columns are none"),
        (None, "user02_led_labels.csv: cannot be read: No such file"),
    ],
)
def test_a_table_of_labels_that_is_malformed(tmp_path, text, wanted):
    tree = ibm_gesture(tmp_path)
    if text is None:
        (tmp_path / IBM).unlink()
    else:
        (tmp_path / IBM).write_text(text)
    refused(tree.uri, wanted)


def test_recordings_that_are_listed_but_missing_or_have_no_user(tmp_path):
    tree = ibm_gesture(tmp_path)
    (tmp_path / "DvsGesture/user23_lab.aedat").unlink()
    refused(tree.uri, "user23_lab.aedat is missing, 1 of 3 listed recordings")
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        (tmp_path / "DvsGesture" / name).unlink()
    assert {clip.person for clip in open_set(tree.uri).clips} == {2, 24}
    shutil.copy(tmp_path / "DvsGesture/user02_led.aedat", tmp_path / "DvsGesture/userX_led.aedat")
    refused(tree.uri, "userX_led: wanted a name such as user01_fluorescent")


def test_gestures_of_other_peoples_layouts_that_are_malformed(tmp_path):
    tree = tonic_gesture(tmp_path / "tonic")
    home = tmp_path / "tonic/ibmGestureTrain/user01_fluorescent_led"
    rows = np.load(home / "3.npy")
    for bad, wanted in (
        (rows[:, :3], r"float64 of shape \(120, 3\); wanted \(n, 4\) numbers"),
        (rows * [1, 1, 1, 1_000_000], "wanted milliseconds of a gesture"),
        (rows[:, [0, 2, 1, 3]], "its third column holds .*; wanted polarities"),
        (np.array([None, 1]), "Object arrays cannot be loaded"),
    ):
        np.save(home / "3.npy", bad, allow_pickle=True)
        refused(tree.uri, f"3.npy: .*{wanted}", read=True)
    np.save(home / "3.npy", rows)
    np.save(home / "11.npy", rows)
    refused(tree.uri, "11.npy: wanted 0.npy to 10.npy, the class")
    tree = spikingjelly_gesture(tmp_path / "jelly")
    shutil.copytree(tmp_path / "jelly/events_np/train/10", tmp_path / "jelly/events_np/train/11")
    refused(tree.uri, "wanted a folder 0 to 10, the class")


def test_a_recording_that_is_damaged_or_of_another_kind(tmp_path):
    tree = nmnist_set(tmp_path)
    path = tmp_path / "Train/3/00003.bin"
    path.write_bytes(path.read_bytes()[:-2])
    refused(tree.uri, "00003.bin: damaged: .*; say damaged=take to take what can be read", read=True)
    data = open_set(f"{tree.uri}?damaged=take")
    assert sum(len(packet) for packet in data.packets(data.clips[3])) == 399
    path.write_bytes(b"\xff" * 500)
    refused(tree.uri, "00003.bin: its first 100 records lie outside 34x34", read=True)


def test_folders_of_classes_that_are_not(tmp_path):
    folder(tmp_path, splits=True)
    (tmp_path / "notes").mkdir()
    refused(f"folder:{tmp_path}", "notes beside .*; wanted classes, or splits of them")
    (tmp_path / "notes").rmdir()
    for file in tmp_path.rglob("*.*"):
        file.rename(file.with_suffix(".xyz"))
    refused(f"folder:{tmp_path}", "classes clap, wave without files named")
    gait(tmp_path / "gait")
    shutil.move(tmp_path / "gait/train/2", tmp_path / "gait2/2")
    refused(f"DVSGait:{tmp_path / 'gait2'}", "no folders train and test there")
    (tmp_path / "gait/test/0/0.txt").write_text("1 2\n3 4\n")
    refused(f"DVSGait:{tmp_path / 'gait'}", "0.txt: ", read=True)


ROWS = {
    "a,b\n1,2\n": "columns are a, b; wanted file,start_us,end_us,label\\[,person\\]\\[,split\\]",
    "file,start_us,end_us,label,colour\na,1,2,x,red\n": "columns are file, start_us, end_us, label, colour",
    "file,start_us,end_us,label\ndays/monday.npz,5,5,x\n": "line 2: 5 to 5 us; wanted start_us < end_us",
    "file,start_us,end_us,label\ndays/monday.npz,5,,x\n": "line 2: end_us is ''; wanted a whole number",
    "file,start_us,end_us,label\ndays/monday.npz,1,5,\n": "a row without a label",
    "file,start_us,end_us,label\nnone.npz,1,5,x\n": "none.npz is missing, 1 files of 1",
    "file,start_us,end_us,label,split\ndays/monday.npz,1,5,x,exam\n": "split 'exam'; wanted train",
    "file,start_us,end_us,label\ntuesday.csv,1,5,x\ntuesday.csv,1,5,y\n": "the same stretch of a file twice",
    "file,start_us,end_us,label\n": "no recording in",
}


@pytest.mark.parametrize("text", ROWS)
def test_a_list_of_clips_that_is_malformed(tmp_path, text):
    tree = cut_list(tmp_path)
    (tmp_path / "clips.csv").write_text(text)
    refused(tree.uri, ROWS[text])


def test_cifar10dvs_that_is_malformed(tmp_path):
    tree = cifar10dvs(tmp_path, ".mat")
    out = np.zeros((5, 6))
    path = tmp_path / "cat/1.mat"
    for entries, wanted in (
        ({"out": out[:, :5]}, r"out has the shape \(5, 5\); wanted \(n, 6\)"),
        ({"out": out + 7}, "polarities from 7 to 7; wanted"),
        ({"other": out}, "holds other; wanted a matrix of numbers 'out'"),
        ({"out": "text"}, "holds out; wanted a matrix of numbers 'out'"),
    ):
        savemat(path, entries)
        refused(tree.uri, wanted, read=True)
    savemat(path, {"out": out}, do_compression=True)
    data = path.read_bytes()
    for end in (100, 140, len(data) - 20):
        path.write_bytes(data[:end])
        refused(tree.uri, re.escape("cat/1.mat: "), read=True)
    (tmp_path / "dog/x.mat").write_bytes(b"")
    refused(tree.uri, "x.mat: wanted a name that ends in a number")
    (tmp_path / "dog/x.mat").rename(tmp_path / "dog/12.npz")
    refused(tree.uri, ".mat, .npz; wanted recordings of one kind")
    shutil.rmtree(tmp_path / "truck")
    refused(tree.uri, "no folders airplane to truck there")


def test_the_first_tenth_of_cifar10dvs_can_be_its_test_split(tmp_path):
    tree = cifar10dvs(tmp_path, ".npz")
    data = open_set(f"{tree.uri}?test=first")
    tests = [clip.key for clip in data.clips if clip.split == "test"]
    assert tests == [f"{name}/cifar10_{name}_1.npz" for name in CIFAR]


def test_flips_can_be_said_to_keep_the_class(tmp_path):
    tree = npz_set(tmp_path)
    assert open_set(tree.uri).flipped is None
    assert open_set(f"{tree.uri}?flip=same").flipped == (0, 1, 2)


def test_a_split_that_no_clip_is_of(tmp_path):
    tree = npz_set(tmp_path)
    refused(f"{tree.uri}?split=validation", "no clip is of split validation; found test, train")


def test_a_stretch_beyond_its_recording_has_no_events(tmp_path):
    cut_list(tmp_path)
    (tmp_path / "clips.csv").write_text("file,start_us,end_us,label\ntuesday.csv,90000000,90100000,x\n")
    data = open_set(f"csv:{tmp_path / 'clips.csv'}")
    assert sum(len(packet) for packet in data.packets(data.clips[0])) == 0
    assert events_of(2).t[-1] < 90_000_000


def test_a_home_folder_is_found_behind_the_colon(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    npz_set(tmp_path)
    assert len(open_set("npz:~/set.npz?split=train").clips) == 5


DAMAGED = {
    "mat": (lambda root: cifar10dvs(root, ".mat"), "cat/1.mat"),
    "mat, packed": (lambda root: cifar10dvs(root, ".mat"), "cat/2.mat"),
    "npz": (npz_set, "set.npz"),
    "table of labels": (ibm_gesture, IBM),
    "list of recordings": (ibm_gesture, "DvsGesture/trials_to_train.txt"),
    "tonic's rows": (tonic_gesture, "ibmGestureTrain/user12_lab/3.npy"),
    "list of clips": (cut_list, "clips.csv"),
    "text": (gait, "test/0/0.txt"),
    "CIFAR": (lambda root: Tree(f"CIFAR10:{root}", cifar(root, "CIFAR10"), None, ()), "data_batch_2.bin"),
    "idx": (lambda root: Tree(f"MNIST:{root}", idx(root, False), None, ()), "train-images-idx3-ubyte"),
    "idx, packed": (
        lambda root: Tree(f"MNIST:{root}", idx(root, True), None, ()),
        "t10k-labels-idx1-ubyte.gz",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("copies", [25, pytest.param(2_000, marks=pytest.mark.full)])
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, case, copies):
    make, name = DAMAGED[case]
    tree = make(tmp_path)
    for _, data in mutated((tmp_path / name).read_bytes(), 7, copies):
        (tmp_path / name).write_bytes(data)
        read_or_refuse(tree.uri, name)


def read_or_refuse(uri, name):
    """Read the clips of the file; a refusal is one short line."""
    try:
        data = open_set(uri)
        for clip in data.clips:
            if clip.key == name or name.endswith((".npz", ".csv")):
                list(data.packets(clip))
    except SourceError as error:
        line = str(error)
    else:
        return
    assert line.replace("\t", "").isprintable() and len(line) < 1_000
