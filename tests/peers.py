"""Other people's writers and readers of recordings, each behind one function.

A writer gets events and a path, a reader gives the events of a path. Each imports its package itself, so that
a test can be skipped, by name, where that is not installed.
"""

import io

import h5py
import make_bags
import numpy as np
from made import BEGIN_US, SIDE
from make_container_files import ros_mcap
from test_sources_writers import Events, pieces, records

SIZE = (SIDE, SIDE)


def events_of(t, x, y, p):
    """Any columns as ours; a polarity is ON above 0."""
    return Events(
        *(
            np.asarray(c).astype(kind)
            for c, kind in zip((t, x, y, np.asarray(p) > 0), ("i8", "u2", "u2", "u1"), strict=True)
        )
    )


# --- writers


def dv_processing_writer(compression):
    def write(events, path):
        import dv_processing as dv

        about = dv.io.MonoCameraWriter.Config("CAM_1")
        about.compression = getattr(dv.CompressionType, compression)
        about.addEventStream(SIZE)
        writer = dv.io.MonoCameraWriter(str(path), about)
        for part in pieces(events, 500):
            store = dv.EventStore()
            for t, x, y, p in zip(*(column.tolist() for column in part), strict=True):
                store.push_back(t, x, y, bool(p))
            writer.writeEvents(store)
        del writer  # this closes the file

    return write


def faery_writer(**about):
    def write(events, path):
        import faery

        rows = np.zeros(len(events.t), faery.EVENTS_DTYPE)
        for name in "txyp":
            rows[name] = getattr(events, name)
        faery.file_encoder.events_to_file([rows], path, SIZE, use_write_suffix=False, zero_t0=False, **about)

    return write


def event_stream_writer(events, path):
    import event_stream

    rows = np.zeros(len(events.t), event_stream.dvs_dtype)
    rows["t"], rows["x"], rows["y"], rows["on"] = events
    with event_stream.Encoder(str(path), "dvs", *SIZE) as encoder:
        encoder.write(rows)


def expelliarmus_writer(encoding):
    def write(events, path):
        from expelliarmus import Wizard

        kinds = [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")]
        rows = np.zeros(len(events.t), np.dtype(kinds, align=True))
        rows["t"], rows["x"], rows["y"], rows["p"] = events
        Wizard(encoding=encoding).save(str(path), rows)

    return write


def eventcv_writer(events, path):
    import eventcv

    rows = np.stack([events.x, events.y, events.t, events.p], axis=1).astype(np.int64)
    eventcv.save(eventcv.from_numpy(rows, sensor_size=SIZE, time_unit="us"), str(path))


def evlib_writer(events, path):
    import evlib

    t, x, y, p = events.t / 1e6, *(column.astype(np.int64) for column in events[1:])
    save = evlib.save_events_to_hdf5 if path.suffix == ".h5" else evlib.save_events_to_text
    save(x, y, t, p, str(path))


def numpy_npy(events, path):
    np.save(path, records(events))


def numpy_npz(events, path):
    np.savez_compressed(path, **events._asdict(), width=SIDE, height=SIDE)


def numpy_text(events, path):
    columns = [events.t / 1e6, *(column.astype(float) for column in events[1:])]
    np.savetxt(path, np.stack(columns, axis=1), fmt=["%.6f", "%d", "%d", "%d"])


def h5py_columns(events, path):
    """As DSEC has it."""
    with h5py.File(path, "w") as file:
        for name, kind in (("t", "u4"), ("x", "u2"), ("y", "u2"), ("p", "u1")):
            column = getattr(events, name) - (BEGIN_US if name == "t" else 0)
            file.create_dataset(f"events/{name}", data=column.astype(kind), compression="gzip")
        file["t_offset"] = np.int64(BEGIN_US)


def h5py_matrix(events, path):
    """As MVSEC has it."""
    rows = np.stack([events.x, events.y, events.t / 1e6, events.p * 2.0 - 1], axis=1)
    with h5py.File(path, "w") as file:
        file.create_dataset("davis/left/events", data=rows, compression="gzip")


def rosbags_writer(kind, form):
    def write(events, path):
        if form == "array":
            topics = {"/events": lambda store: make_bags.array_messages(store, events, 300, *SIZE)}
        else:
            base_us = int(events.t[0]) - 5
            payloads = [
                {"mono": make_bags.mono, "libcaer": make_bags.libcaer}[form](part, base_us)
                for part in pieces(events, 300)
            ]
            about = {"time_base": 1_000 * base_us, "width": SIDE, "height": SIDE}
            topics = {"/events": lambda store: make_bags.packet_messages(payloads, form, **about)}
        written = make_bags.write_bag(path, kind, topics)
        if written != path:
            written.rename(path)

    return write


def mcap_writer(events, path):
    """A ROS 2 bag by the mcap library."""
    path.write_bytes(ros_mcap(events).data)


# --- readers


def aedat_reader(path):
    import aedat

    rows = np.concatenate([packet["events"] for packet in aedat.Decoder(str(path))])
    return events_of(rows["t"], rows["x"], rows["y"], rows["on"])


def dv_processing_reader(path):
    import dv_processing as dv

    reader, batches = dv.io.MonoCameraRecording(str(path)), []
    while reader.isRunning("events") and (batch := reader.getNextEventBatch()) is not None:
        batches.append(batch.numpy())
    rows = np.concatenate(batches)
    return events_of(rows["timestamp"], rows["x"], rows["y"], rows["polarity"])


def faery_reader(path):
    import faery

    rows = np.concatenate(list(faery.events_stream_from_file(str(path), dimensions_fallback=SIZE)))
    return events_of(rows["t"], rows["x"], rows["y"], rows["p"])


def event_stream_reader(path):
    """It hands out y as it is stored: up."""
    import event_stream

    with event_stream.Decoder(str(path)) as decoder:
        rows = np.concatenate(list(decoder))
    return events_of(rows["t"], rows["x"], SIDE - 1 - rows["y"].astype(np.int64), rows["on"])


def expelliarmus_reader(encoding):
    def read(path):
        from expelliarmus import Wizard

        rows = Wizard(encoding=encoding).read(str(path))
        return events_of(rows["t"], rows["x"], rows["y"], rows["p"])

    return read


def eventcv_reader(path):
    import eventcv

    rows = eventcv.load(str(path), sensor_size=SIZE, time_unit="us").numpy()
    return events_of(rows[:, 2], rows[:, 0], rows[:, 1], rows[:, 3])


def evlib_reader(path):
    import evlib

    table = evlib.load_events(str(path)).collect()
    columns = (table[name].to_physical().to_numpy() for name in ("t", "x", "y", "polarity"))
    return events_of(*columns)


def aestream_reader(path):
    import aestream

    rows = aestream.FileInput(str(path), SIZE).load()
    return events_of(rows["timestamp"], rows["x"], rows["y"], rows["polarity"])


def h5py_reader(path):
    with h5py.File(path) as file:
        return events_of(*(file[f"events/{name}"][:] for name in "txyp"))


def numpy_reader(path):
    with np.load(path) as file:
        return events_of(*(file[name] for name in "txyp"))


def loadtxt_reader(path):
    return events_of(*np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64).T)


def mcap_reader(path):
    """Our MCAP, by the mcap library and what docs/recordings.md says about a packet."""
    import msgpack
    from mcap.reader import make_reader

    parts = []
    for _, _, message in make_reader(io.BytesIO(path.read_bytes())).iter_messages("/spikeline/packet"):
        unpacker = msgpack.Unpacker()
        unpacker.feed(message.data)
        n, at = unpacker.unpack()["n"], unpacker.tell()
        starts = zip(("<i8", "<u2", "<u2", "u1"), (at, at + 8 * n, at + 10 * n, at + 12 * n), strict=True)
        parts.append([np.frombuffer(message.data, kind, n, start) for kind, start in starts])
    return events_of(*(np.concatenate(column) for column in zip(*parts, strict=True)))
