import numpy as np
import pytest
import slow_evaluation as slow
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.decision import Decision, DecisionConfig, decide_all


def run(scores, **config):
    decide = Decision(["a", "b"], DecisionConfig(**config))
    return [
        decide(np.array(s, np.float32), i * 10, (i + 1) * 10)[::3] for i, s in enumerate(scores)
    ]  # label, segment


def test_segments_begin_go_on_change_and_end():
    found = run([[0.6, 0.1], [0.7, 0.1], [0.2, 0.8], [0.3, 0.4]], threshold=0.5)
    assert found == [("a", "new"), ("a", "update"), ("b", "new"), (None, "end")]


def test_nothing_is_announced_below_the_threshold_or_at_zero():
    assert run([[0.4, 0.1]], threshold=0.5) == [(None, None)]
    assert run([[0.0, 0.0]]) == [(None, None)]


def test_a_label_must_hold():
    scores = [[0.9, 0], [0, 0.9], [0.9, 0], [0.9, 0], [0.9, 0]]
    assert [label for label, _ in run(scores, hold_us=20)] == [None, None, None, "a", "a"]


def test_a_label_stays_until_another_has_held_or_it_has_been_gone_as_long():
    a, b, nothing = [0.9, 0], [0, 0.9], [0, 0]
    assert [label for label, _ in run([a, a, b, a, a], hold_us=20)] == [None, "a", "a", "a", "a"]
    assert run([a, a, b, b], hold_us=20)[1:] == [("a", "new"), ("a", "update"), ("b", "new")]
    assert run([a, a, nothing, nothing], hold_us=20)[2:] == [("a", "update"), (None, "end")]
    assert run([a, a, b, nothing], hold_us=20)[2:] == [("a", "update"), (None, "end")]


def test_the_score_is_the_labels_own():
    decide = Decision(["a", "b"], DecisionConfig(hold_us=20))
    said = [
        decide(np.array(s, np.float32), i * 10, i * 10 + 10)
        for i, s in enumerate([[0.5, 0]] * 2 + [[0.25, 1]])
    ]
    assert [(verdict.label, verdict.score) for verdict in said] == [(None, 0.5), ("a", 0.5), ("a", 0.25)]


@st.composite
def score_runs(draw, classes=3):
    """Windows of uneven length, scores in coarse steps so that ties, zeros and thresholds are met."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 40))
    end_us = np.cumsum(rng.integers(1, 4, n)) * 10
    scores = rng.choice([0, 0.25, 0.5, 0.75], (n, classes))
    scores = np.repeat(scores, rng.integers(1, 4, n), 0)[:n].astype(np.float32)
    config = DecisionConfig(
        threshold=draw(st.sampled_from([0, 0.25, 0.3, 0.75, 1.0])),
        hold_us=draw(st.sampled_from([0, 10, 25, 60])),
    )
    return np.concatenate([[0], end_us[:-1]]), end_us, scores, config


@settings(deadline=None, max_examples=200)
@given(score_runs())
def test_the_label_follows_from_the_history_alone(made):
    start_us, end_us, scores, config = made
    decide = Decision(["a", "b", "c"], config)
    said = [decide(s, int(a), int(b)).position for s, a, b in zip(scores, start_us, end_us, strict=True)]
    candidates = [int(s.argmax()) if s.max() > 0 and s.max() >= config.threshold else None for s in scores]
    spans = list(zip(start_us.tolist(), end_us.tolist(), strict=True))
    assert said == [slow.held_label(candidates[: i + 1], spans, config.hold_us) for i in range(len(said))]


@settings(deadline=None, max_examples=200)
@given(score_runs(), st.integers(0, 2**32 - 1))
def test_deciding_again_gives_what_was_decided_live(made, seed):
    start_us, end_us, scores, config = made
    ready = np.random.default_rng(seed).random(len(scores)) < 0.8  # not ready: the loop does not ask
    decide = Decision(["a", "b", "c"], config)
    said = []
    for k in range(len(scores)):
        position = decide(scores[k], int(start_us[k]), int(end_us[k])).position if ready[k] else None
        said.append(-1 if position is None else position)
    best = scores.argmax(1)
    again = decide_all(best, scores.max(1), start_us, end_us, ready, config)
    assert again.tolist() == said


@pytest.mark.parametrize("config", [{"threshold": 1.5}, {"threshold": -0.1}, {"hold_us": -1}])
def test_impossible_settings_are_refused(config):
    with pytest.raises(ValueError, match="must be"):
        DecisionConfig(**config)
