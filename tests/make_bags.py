"""ROS bags of any kind with given events, written by the `rosbags` library."""

import struct

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
ARRAY = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
    "string encoding\nbool is_bigendian\nuint8[] events\n"
)
TIME_2 = EVENT.replace("time ts", "builtin_interfaces/Time ts")


def typestore(ros):
    store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_JAZZY)
    for text, name in (
        (EVENT if ros == 1 else TIME_2, "dvs_msgs/msg/Event"),
        (ARRAY, "dvs_msgs/msg/EventArray"),
        (PACKET, "event_camera_msgs/msg/EventPacket"),
    ):
        store.register(get_types_from_msg(text, name))
    return store


def array_messages(store, events, size, width=16, height=12):
    """EventArrays of `size` events each."""
    types = store.types
    stamp, event = types["builtin_interfaces/msg/Time"], types["dvs_msgs/msg/Event"]
    for first in range(0, len(events.t), size):
        rows = [
            event(x=x, y=y, ts=stamp(sec=t // 1_000_000, nanosec=t % 1_000_000 * 1_000), polarity=bool(p))
            for t, x, y, p in zip(*(column[first : first + size].tolist() for column in events), strict=True)
        ]
        yield "dvs_msgs/msg/EventArray", {"height": height, "width": width, "events": rows}


def packet_messages(payloads, encoding, time_base=0, width=16, height=12, first_seq=5, big_endian=False):
    for k, payload in enumerate(payloads):
        yield (
            "event_camera_msgs/msg/EventPacket",
            {
                "height": height,
                "width": width,
                "seq": first_seq + k,
                "time_base": time_base,
                "encoding": encoding,
                "is_bigendian": big_endian,
                "events": np.frombuffer(payload, np.uint8),
            },
        )


def write_bag(path, kind, topics, *, packing=None, chunk_bytes=None):
    """The file. `topics`: {name: function of the typestore that gives (type, fields) of each message}."""
    store = typestore(1 if kind == "bag" else 2)
    header, stamp = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    if kind == "bag":
        writer = Writer1(path)
        if packing:
            writer.set_compression(Writer1.CompressionFormat[packing])
        if chunk_bytes:
            writer.chunk_threshold = chunk_bytes
    else:
        plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
        writer = Writer2(path.with_suffix(""), version=9, storage_plugin=plugin)
    with writer:
        for name, make in topics.items():
            connection = None
            for k, (type_name, fields) in enumerate(make(store)):
                if connection is None:
                    connection = writer.add_connection(name, type_name, typestore=store)
                extra = {"seq": k} if kind == "bag" else {}
                head = header(stamp=stamp(sec=1, nanosec=k), frame_id="cam", **extra)
                message = store.types[type_name](header=head, **fields)
                serialize = store.serialize_ros1 if kind == "bag" else store.serialize_cdr
                writer.write(connection, 1_000_000_000 + k, serialize(message, type_name))
    return path if kind == "bag" else next(path.with_suffix("").glob(f"*.{kind}"))


def mono(events, base_us):
    """The payload of `mono`: nanoseconds after the time base."""
    dt = (events.t - base_us).astype(np.uint64) * np.uint64(1_000)
    x, y, p = (column.astype(np.uint64) for column in events[1:])
    return (p << np.uint64(63) | y << np.uint64(48) | x << np.uint64(32) | dt).astype("<u8").tobytes()


def libcaer(events, base_us):
    """The payload of `libcaer`: a polarity word and a time of 31 bits that wraps."""
    t = (events.t - base_us) % (1 << 31)
    x, y, p = (column.astype(np.uint32) for column in events[1:])
    word = x << np.uint32(17) | y << np.uint32(2) | p << np.uint32(1) | np.uint32(1)
    return np.stack([word, t.astype(np.uint32)], axis=1).astype("<u4").tobytes()


def evt3(events):
    """EVT3 words: all that changes before each event."""
    words, high, low, row = [], None, None, None
    for t, x, y, p in zip(*(column.tolist() for column in events), strict=True):
        if (t >> 12 & 0xFFF) != high:
            high, low = t >> 12 & 0xFFF, None
            words.append(8 << 12 | high)
        if (t & 0xFFF) != low:
            low = t & 0xFFF
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(y)
        words.append(2 << 12 | p << 11 | x)
    return struct.pack(f"<{len(words)}H", *words)
