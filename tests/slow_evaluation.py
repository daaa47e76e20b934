"""Slow twins of the evaluation: the definitions of docs/evaluation.md, word by word, on whole ticks.

All times are whole multiples of TICK_US, so that a stretch of time is a set of ticks and its length a count.
"""

from itertools import pairwise, permutations

TICK_US = 25_000
NEUTRAL_US = 150_000


def ticks(start_us, end_us):
    assert start_us % TICK_US == 0 and end_us % TICK_US == 0
    return set(range(start_us // TICK_US, end_us // TICK_US))


def most_pairs(possible, columns):
    """The largest number of pairs (i, j) with possible[i][j], no i and no j twice, by trying all."""
    rows = len(possible)
    slots = [*range(columns), *([None] * rows)]
    best = 0
    for chosen in set(permutations(slots, rows)):
        pairs = [possible[i][j] for i, j in enumerate(chosen) if j is not None]
        best = max(best, sum(pairs) if all(pairs) else 0)
    return best


def neutral_ticks(shown):
    found = set()
    for row in shown:
        found |= ticks(row.onset_us - NEUTRAL_US, row.onset_us + NEUTRAL_US)
        found |= ticks(row.onset_us, row.full_us)
        found |= ticks(row.offset_us - NEUTRAL_US, row.offset_us + NEUTRAL_US)
    return found


def segments(labels, end_us):
    """[(label, start_us, end_us)]: what a listener sees, `none` too."""
    found = []
    for i, label in enumerate(labels):
        until = end_us[min(i + 1, len(labels) - 1)]
        if found and found[-1][0] == label:
            found[-1][2] = until
        else:
            found.append([label, end_us[i], until])
    return [tuple(s) for s in found if s[0] >= 0]


def class_counts(found, shown, cut, classes):
    """hits, extra, missed of each class, with the ticks of `cut` left out of everything."""
    counts = [[0, 0, 0] for _ in range(classes)]
    for k in range(classes):
        mine = [ticks(a, b) - cut for label, a, b in found if label == k]
        theirs = [ticks(r.onset_us, r.offset_us) - cut for r in shown if r.position == k]
        mine, theirs = ([s for s in sets if s] for sets in (mine, theirs))
        possible = [[2 * len(a & b) >= len(a | b) for b in theirs] for a in mine]
        hits = most_pairs(possible, len(theirs))
        counts[k] = [hits, len(mine) - hits, len(theirs) - hits]
    return counts


def judged(labels, start_us, end_us, truth, none, classes):
    """All figures of one stream as a dict."""
    last = end_us[-1]
    shown = [
        row._replace(offset_us=min(row.offset_us, last), full_us=min(row.full_us, last))
        for row in truth
        if row.position != none and row.onset_us < last
    ]
    found = [s for s in segments(labels, end_us) if s[0] != none]
    near = lambda t: any(r.onset_us - NEUTRAL_US <= t <= r.offset_us + NEUTRAL_US for r in shown)  # noqa: E731
    busy = set()
    for row in shown:
        busy |= ticks(row.onset_us - NEUTRAL_US, row.offset_us + NEUTRAL_US)
    delays = []
    for row in shown:
        standing = [
            (t, label)
            for t, label in [(-(10**18), -1), *zip(end_us, labels, strict=True)]
            if t <= row.offset_us
        ]
        before = [label for t, label in standing if t <= row.onset_us][-1]
        later = [t for t, label in standing if t > row.onset_us and label == row.position]
        if before == row.position:
            delays.append(0)
        elif later:
            delays.append(later[0] - row.onset_us)
    true = []
    for t in end_us:
        performed = [r.position for r in shown if r.onset_us <= t < r.offset_us]
        true.append(performed[0] if performed else none)
    changes = lambda values: sum(a != b for a, b in pairwise(values))  # noqa: E731
    neutral = neutral_ticks(shown)
    return {
        "counts": class_counts(found, shown, neutral, classes),
        "raw": class_counts(found, shown, set(), classes),
        "unscored": sum(not ticks(r.onset_us, r.offset_us) - neutral for r in shown),
        "false_activations": sum(not near(start) for _, start, _ in found),
        "idle_us": len(ticks(start_us[0], last) - busy) * TICK_US,
        "delays": delays,
        "flips": changes(labels),
        "class_flips": changes([-1 if label == none else label for label in labels]),
        "truth_changes": changes(true),
    }


def held_label(candidates, spans, hold_us):
    """The label after the last window, from the history alone: candidates and (start, end) of the windows."""
    label = None
    for i in range(len(candidates)):
        now, end = candidates[i], spans[i][1]
        first = i
        while first > 0 and candidates[first - 1] == now:
            first -= 1
        stood = end - spans[first][0]
        seen = [spans[j][1] for j in range(i + 1) if candidates[j] == label]
        if now is not None and stood >= hold_us:
            label = now
        elif label is not None and end - seen[-1] >= hold_us and now != label:
            label = None
    return label


def ten_starts(span_us, length_us, n=10):
    """As MA-SNN has it: length - floor(overlap) or length + floor(gap) apart, then moved back."""
    starts = []
    for k in range(n):
        overlap = n * length_us - span_us
        if overlap > 0:
            start = k * (length_us - int(overlap // n))
        else:
            start = k * (length_us + int((span_us - n * length_us) // n))
        if start + length_us > span_us:
            start -= start + length_us - span_us
        starts.append(start)
    return starts


def ten_frames(t, x, y, p, dt_us, steps, grid, sensor):
    """Counts (10, steps, 2, H, W) of the ten stretches, event by event."""
    import numpy as np

    W, H = grid
    out = np.zeros((10, steps, 2, H, W), np.uint16)
    if len(t) == 0:
        return out
    length = dt_us * steps
    for k, start in enumerate(ten_starts(int(t[-1] - t[0]), length)):
        inside = [i for i in range(len(t)) if t[0] + start <= t[i] < t[0] + start + length]
        for i in inside:
            step = int(t[i] - t[inside[0]]) // dt_us
            out[k, step, p[i], y[i] * H // sensor[1], x[i] * W // sensor[0]] += 1
    return out
