import numpy as np
import pytest

from spikeline.pipeline.decision import Decision, DecisionConfig


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


@pytest.mark.parametrize("config", [{"threshold": 1.5}, {"threshold": -0.1}, {"hold_us": -1}])
def test_impossible_settings_are_refused(config):
    with pytest.raises(ValueError, match="must be"):
        DecisionConfig(**config)
