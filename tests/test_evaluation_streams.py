"""The continuous figures against their definitions, tried on random streams with every edge in them."""

import json

import numpy as np
import pytest
import slow_evaluation as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.continuous import (
    Delay,
    TimeAxis,
    iou,
    judge,
    match,
    merged,
    neutral_zones,
    segments,
)
from spikeline.pipeline.stream_figures import StreamFigures, bootstrap, f1, macro_f1, poisson_interval
from spikeline.pipeline.tracks import Track
from spikeline.pipeline.truth import Performance, TruthError, performances, read_truth

TICK = slow.TICK_US
CLASSES, NONE = 4, 3
LABELS = ["left", "right", "up", "none"]


@st.composite
def truths(draw, most=5):
    """Performances one after another, touching or apart, some as short as a tick."""
    rows, t = [], 0
    for _ in range(draw(st.integers(0, most))):
        onset = t + draw(st.integers(0, 30)) * TICK
        offset = onset + draw(st.integers(1, 40)) * TICK
        full = min(onset + draw(st.integers(0, 25)) * TICK, offset)
        rows.append(Performance(draw(st.integers(0, CLASSES - 1)), onset, full, offset))
        t = offset
    return rows


@st.composite
def announced(draw):
    """Labels in runs, with the window ends they belong to."""
    runs = draw(
        st.lists(st.tuples(st.integers(-1, CLASSES - 1), st.integers(1, 30)), min_size=1, max_size=12)
    )
    labels = np.array([label for label, n in runs for _ in range(n)])
    dt = draw(st.sampled_from([1, 2, 3])) * TICK
    start = draw(st.integers(0, 10)) * TICK
    return labels, start + dt * np.arange(len(labels)), start + dt * np.arange(1, len(labels) + 1)


def track_of(labels, start_us, end_us):
    n = len(labels)
    return Track(start_us, end_us, np.ones(n, bool), np.zeros((n, CLASSES), np.float32), np.arange(n) * 1.0)


@settings(deadline=None, max_examples=300)
@given(announced(), truths())
def test_a_stream_is_judged_as_the_definitions_say(said, truth):
    labels, start_us, end_us = said
    tally = judge(track_of(*said), labels, truth, NONE)
    wanted = slow.judged(labels.tolist(), start_us.tolist(), end_us.tolist(), truth, NONE, CLASSES)
    counts = np.stack([tally.hits, tally.extra, tally.missed], 1).tolist()
    assert counts == wanted["counts"]
    assert tally.raw.T.tolist() == wanted["raw"]
    assert [d.sensor_us for d in tally.delays] == wanted["delays"]
    for name in ("unscored", "false_activations", "idle_us", "flips", "class_flips", "truth_changes"):
        assert getattr(tally, name) == wanted[name], name
    assert tally.span_us == end_us[-1] - start_us[0]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4))
def test_no_pairing_has_more_pairs(seed, n, m):
    rng = np.random.default_rng(seed)
    found, shown = ([(int(a), int(a + b)) for a, b in rng.integers(0, 12, (k, 2))] for k in (n, m))
    for least in (0.2, 0.5, 1.0):
        pairs = match(found, shown, least)
        table = iou(found, shown) >= least
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert all(table[i, j] for i, j in pairs)
        assert len(pairs) == slow.most_pairs(table.tolist(), m)


def test_iou_of_intervals_is_that_of_sets():
    spans = [(a, b) for a in range(6) for b in range(a, 6)]
    table = iou(spans, spans)
    for i, a in enumerate(spans):
        for j, b in enumerate(spans):
            first, second = set(range(*a)), set(range(*b))
            either = len(first | second)
            assert table[i, j] == (len(first & second) / either if either else 0)


@given(truths())
def test_the_time_axis_is_time_less_what_was_cut(truth):
    zones = neutral_zones(truth)
    assert zones == merged(zones) and all(a < b for a, b in zones)
    axis, cut = TimeAxis(zones), slow.neutral_ticks(truth)
    assert {tick for a, b in zones for tick in slow.ticks(a, b)} == cut
    first = min(cut, default=0) - 3
    for tick in range(first, max(cut, default=0) + 4):
        counted = len(set(range(first, tick)) - cut)
        assert axis(tick * TICK) - axis(first * TICK) == counted * TICK


def test_segments_are_what_a_listener_sees():
    end_us = np.arange(1, 8) * 100
    labels = np.array([-1, 2, 2, 0, -1, 0, 1])
    assert segments(labels, end_us) == [(2, 200, 400), (0, 400, 500), (0, 600, 700), (1, 700, 700)]
    assert segments(np.full(3, -1), end_us[:3]) == []


def test_a_late_start_inside_the_neutral_time_costs_nothing():
    truth = [Performance(0, 1_000_000, 1_600_000, 3_000_000)]
    end_us = np.arange(1, 101) * 50_000
    labels = np.where((end_us >= 1_550_000) & (end_us < 3_100_000), 0, NONE)
    tally = judge(track_of(labels, end_us - 50_000, end_us), labels, truth, NONE)
    assert (tally.hits[0], tally.extra.sum(), tally.missed.sum()) == (1, 0, 0)
    assert tally.delays == (Delay(550_000, 30.0),)
    assert tally.false_activations == 0
    wrong = np.where(
        (end_us >= 1_100_000) & (end_us < 1_550_000), 1, labels
    )  # another label while none is due
    assert judge(track_of(wrong, end_us - 50_000, end_us), wrong, truth, NONE).extra.sum() == 0


def test_nothing_performed_makes_every_activation_false():
    end_us = np.arange(1, 73) * 50_000
    labels = np.full(72, NONE)
    labels[10:20], labels[20:22], labels[40] = 0, 1, 2
    truth = [Performance(NONE, 0, 0, 3_600_000)]
    tally = judge(track_of(labels, end_us - 50_000, end_us), labels, truth, NONE)
    assert tally.negative and tally.false_activations == 3
    figures = StreamFigures.of([tally])
    assert figures.false_per_hour == 3_000.0 and figures.macro is None
    facts = figures.as_dict(LABELS)
    assert "f1_macro" not in facts
    assert facts["false_activations_negative"]["count"] == 3
    assert facts["false_activations_negative"]["hours"] == pytest.approx(0.001)


def test_streams_are_added_up_class_by_class():
    counts = np.array([[[2, 0, 0], [1, 0, 0], [1, 0, 2]], [[1, 1, 0], [0, 0, 0], [0, 1, 0]]])
    total = counts.sum(0)
    assert f1(total[:, 0]) == 6 / 8 and f1(total[:, 1]) == 2 / 3 and f1(total[:, 2]) == 0
    assert macro_f1(total) == pytest.approx((6 / 8 + 2 / 3 + 0) / 3)
    assert macro_f1(total[:, :2]) == pytest.approx((6 / 8 + 2 / 3) / 2)
    low, high = bootstrap(counts)
    assert low <= macro_f1(total) <= high and bootstrap(counts) == (low, high)
    assert bootstrap(counts[:1]) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 200))
def test_the_interval_of_a_count_holds_95_of_100(n):
    from math import exp, lgamma, log

    low, high = poisson_interval(n)
    at_most = lambda k, mean: sum(exp(j * log(mean) - mean - lgamma(j + 1)) for j in range(k + 1))  # noqa: E731
    assert at_most(n, high) == pytest.approx(0.025, abs=1e-6)
    assert (low == 0) if n == 0 else 1 - at_most(n - 1, low) == pytest.approx(0.025, abs=1e-6)


@given(truths())
def test_a_truth_file_is_read_as_it_was_written(tmp_path_factory, truth):
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    lines = [
        json.dumps(
            {
                "label": LABELS[row.position] if k % 2 else row.position,
                "onset_us": row.onset_us,
                "full_us": row.full_us,
                "offset_us": row.offset_us,
                "person": k,
                "periods": 2.5,
            }
        )
        for k, row in enumerate(truth)
    ]
    path.write_text("\n\n".join(reversed(lines)))
    assert read_truth(path, LABELS) == [row._replace(person=k) for k, row in enumerate(truth)]


def test_names_count_in_the_source_and_positions_in_the_model():
    rows = [{"label": 1, "onset_us": 0, "offset_us": 10}]
    assert performances(rows, ["none", "up"], LABELS, "x") == [Performance(2, 0, 0, 10)]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('{"label": 9, "onset_us": 0, "offset_us": 5}', "line 2: label 9; wanted 0 to 3"),
        ('{"label": "fly", "onset_us": 0, "offset_us": 5}', "line 2: label 'fly'; the model knows left"),
        ('{"label": 1, "onset_us": 7, "offset_us": 5}', "line 2: onset_us 7, full_us 7, offset_us 5; wanted"),
        ('{"label": 1, "offset_us": 5}', "line 2: Object missing required field `onset_us`"),
        ('{"label": 1, "onset_us": 1.5, "offset_us": 5}', "line 2: Expected `int`, got `float`"),
        ('{"label": 1', "line 2: Input data was truncated"),
        (
            '{"label": 1, "onset_us": -50, "offset_us": 5}',
            "a performance begins at 0 us, before the one that ends at 5 us",
        ),
    ],
)
def test_a_bad_truth_is_named_in_one_line(tmp_path, line, wanted):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"label": 0, "onset_us": 0, "offset_us": 5}\n' + line)
    with pytest.raises(TruthError) as error:
        read_truth(path, LABELS)
    assert wanted in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_truth_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TruthError, match="No such file"):
        read_truth(tmp_path / "none.jsonl", LABELS)
