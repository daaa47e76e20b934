"""The clean-up stages, slow and obvious: an event after another, in plain Python.

Each function takes the settings, the sensor and rows (t, x, y, p), and returns the rows that are kept.
"""


def background(settings, sensor, rows):
    last, kept = {}, []
    for t, x, y, p in rows:
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        if any(pixel in last and t - last[pixel] < settings.us for pixel in around):
            kept.append((t, x, y, p))
        last[x, y] = t
    return kept


def refractory(settings, sensor, rows):
    last, kept = {}, []
    for t, x, y, p in rows:
        rested = (x, y) not in last or t - last[x, y] >= settings.us
        if rested:
            kept.append((t, x, y, p))
        if rested or settings.all:
            last[x, y] = t
    return kept


def hot_pixels(settings, sensor, rows):
    """Stretch by stretch: two seconds on a grid from the first event, in 16 slices."""
    stretches = {}
    for row in rows:
        stretches.setdefault((row[0] - rows[0][0]) // 2_000_000, []).append(row)
    masked, kept = set(), []
    for k, events in sorted(stretches.items()):
        begin = rows[0][0] + k * 2_000_000
        events = [row for row in events if row[1:3] not in masked]
        kept += events
        counts, slices = {}, {}
        for t, x, y, _ in events:
            counts[x, y] = counts.get((x, y), 0) + 1
            slices.setdefault((x, y), set()).add((t - begin) // 125_000)
        found = set()
        for (x, y), n in counts.items():
            around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
            around = [
                (a, b)
                for a, b in around
                if 0 <= a < sensor.width and 0 <= b < sensor.height and (a, b) not in masked
            ]
            outdone = [n >= settings.times * counts.get(pixel, 0) for pixel in around]
            if n >= 2 * settings.hz and len(slices[x, y]) == 16 and sum(outdone) >= len(around) / 2:
                found.add((x, y))
        masked |= found
    return kept


def crop(settings, sensor, rows):
    s = settings
    return [
        (t, x - s.x, y - s.y, p)
        for t, x, y, p in rows
        if s.x <= x < s.x + s.w and s.y <= y < s.y + s.h
    ]  # fmt: skip


def flip(settings, sensor, rows):
    W, H = sensor.width, sensor.height
    return [(t, W - 1 - x if settings.x else x, H - 1 - y if settings.y else y, p) for t, x, y, p in rows]


def transpose(settings, sensor, rows):
    return [(t, y, x, p) for t, x, y, p in rows]


def polarity(settings, sensor, rows):
    if settings.what == "swap":
        return [(t, x, y, 1 - p) for t, x, y, p in rows]
    return [row for row in rows if row[3] == (settings.what == "on")]


def rate(settings, sensor, rows):
    """A purse that fills with `limit` events a second and holds those of `us`, but at least one."""
    from fractions import Fraction

    most = max(Fraction(1), Fraction(settings.limit * settings.us, 1_000_000))
    purse, kept = most, []
    for i, row in enumerate(rows):
        if i:
            purse = min(most, purse + Fraction((row[0] - rows[i - 1][0]) * settings.limit, 1_000_000))
        if purse >= 1:
            purse -= 1
            kept.append(row)
    return kept


TWINS = {
    "background": background,
    "refractory": refractory,
    "hot-pixels": hot_pixels,
    "crop": crop,
    "flip": flip,
    "transpose": transpose,
    "polarity": polarity,
    "rate": rate,
}


def clean(stages, sensor, rows):
    """The rows after all stages; `stages` are (settings, sensor before it)."""
    for settings, before in stages:
        rows = TWINS[settings.NAME](settings, before, rows)
    return rows
