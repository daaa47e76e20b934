"""Splits: no person in two parts, every clip in exactly one, classes and sizes balanced."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeline.pipeline.training.splits import classes_in_turn, folds, hold_out


@st.composite
def people(draw):
    """labels, persons: some clips may be of nobody."""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, known = draw(st.integers(1, 5)), draw(st.integers(0, 12))
    nobody = draw(st.sampled_from((0.0, 0.3, 1.0)))
    persons = np.where(rng.random(n) < nobody, -1, rng.integers(0, known + 1, n))
    return rng.integers(0, classes, n), persons


def units(persons):
    return len(np.unique(persons[persons >= 0])) + int((persons < 0).sum())


def none_shared(persons, parts):
    for person in np.unique(persons[persons >= 0]):
        assert sum(bool((persons[part] == person).any()) for part in parts) == 1


@settings(deadline=None)
@given(people(), st.integers(2, 6), st.integers(0, 99))
def test_every_clip_is_in_one_fold_and_no_person_in_two(made, n, seed):
    labels, persons = made
    if units(persons) < n:
        with pytest.raises(ValueError, match=f"{n} folds of"):
            folds(labels, persons, n, seed)
        return
    parts = folds(labels, persons, n, seed)
    assert len(parts) == n
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    none_shared(persons, parts)
    again = folds(labels, persons, n, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(deadline=None)
@given(people(), st.integers(2, 6), st.integers(0, 99))
def test_without_persons_sizes_and_classes_differ_by_one_at_most(made, n, seed):
    labels, _ = made
    if len(labels) < n:
        return
    parts = folds(labels, np.full(len(labels), -1), n, seed)
    assert np.ptp([len(part) for part in parts]) <= 1
    for label in np.unique(labels):
        assert np.ptp([(labels[part] == label).sum() for part in parts]) <= 1


def test_persons_with_as_many_clips_of_each_class_are_dealt_evenly():
    persons = np.repeat(np.arange(23), 12)
    labels = np.tile(np.arange(12), 23)
    for seed in range(5):
        parts = folds(labels, persons, 5, seed)
        assert sorted(len(part) for part in parts) == [48, 48, 60, 60, 60]
        for part in parts:
            assert np.ptp(np.bincount(labels[part])) == 0


def test_a_person_who_shows_one_class_only_does_not_empty_it_elsewhere():
    """Ten persons, two for each class: with two folds each has every class."""
    labels = np.repeat(np.arange(5), 8)
    persons = np.repeat(np.arange(10), 4)
    for seed in range(10):
        for part in folds(labels, persons, 2, seed):
            assert np.bincount(labels[part]).tolist() == [4] * 5


@settings(deadline=None)
@given(people(), st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_held_out_part_shares_no_person_and_none_is_empty(made, share, seed):
    labels, persons = made
    if units(persons) < 2:
        with pytest.raises(ValueError, match="wanted two or more"):
            hold_out(labels, persons, share, seed)
        return
    train, held = hold_out(labels, persons, share, seed)
    assert len(train) and len(held)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(len(labels)))
    none_shared(persons, [train, held])


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=20, max_size=200), st.floats(0.05, 0.6), st.integers(0, 99))
def test_of_clips_without_persons_about_the_share_of_each_class_is_held_out(classes, share, seed):
    labels = np.array(classes)
    _, held = hold_out(labels, np.full(len(labels), -1), share, seed)
    assert abs(len(held) - share * len(labels)) <= 1
    for label in np.unique(labels):
        count = (labels == label).sum()
        assert abs((labels[held] == label).sum() - share * count) <= 1 + 1e-9


def test_of_persons_about_the_share_is_held_out():
    persons = np.repeat(np.arange(23), 12)
    labels = np.tile(np.arange(12), 23)
    for seed in range(5):
        train, held = hold_out(labels, persons, 0.1, seed)
        assert len(held) == 24 and len(train) == 252


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70))
def test_classes_in_turn_are_as_even_as_can_be(classes, n):
    labels = np.array(classes)
    found = classes_in_turn(labels, n)
    assert len(found) == min(n, len(labels)) and (np.diff(found) > 0).all()
    counts = np.bincount(labels[found], minlength=5)
    whole = np.bincount(labels, minlength=5)
    most = counts.max()
    assert ((counts == whole) | (counts >= most - 1)).all()
    for label in np.unique(labels):  # the first of each class
        mine = np.flatnonzero(labels == label)
        np.testing.assert_array_equal(found[labels[found] == label], mine[: counts[label]])
