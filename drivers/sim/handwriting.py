"""A small grey picture of a character as strokes of a pen, finer than the pixels that will see it.

Eight by eight cells hold a character's shape but not its pen: strokes enlarged are blobs. So the cells are
smoothed by a cubic B-spline, the ridges of that surface are the pen's way, and ink lies within half a pen's
width of them. For a ridge across direction n with curvature c, the way to it is -(gradient . n) / c.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FIELD = 28  # the picture's field on the sensor when it is at rest, in pixels
FINE = 4  # raster points per pixel
MARGIN = 10  # pixels of screen around the field
REST_X, REST_Y = -2.2, -1.0  # where the picture starts, from the middle of the field, in pixels

_SMOOTH = 0.25  # of a cell, standard deviation: before ridges are looked for
_SOFT_PX = 0.5  # over which the ink ends
_FAINT, _FAINT_WIDTH = 0.38, 0.12  # of white: ridges below are dirt, not ink
_FLAT = 0.02  # least curvature of a ridge, per square pixel
_STEPS = 2.0**20  # the picture is rounded to parts of this


class Placement(NamedTuple):
    """How the picture lies in its field, and how it is drawn."""

    x_px: float  # of its middle from where it starts
    y_px: float
    size_px: float  # height of its 8 cells
    aspect: float  # their width over their height
    turn: float  # turns
    shear: float  # leans to the right
    half_px: float  # half the width of the pen
    blur_px: float  # lens and pixel aperture, standard deviation


Grid = NDArray[np.float64]


def picture(cells: Grid, place: Placement) -> Grid:
    """The screen around the field as a raster of 0 black to 1 white, seen through the lens.

    cells  (8, 8) from 0 to 1
    """
    n = (FIELD + 2 * MARGIN) * FINE
    at = (np.arange(n) + 0.5) / FINE - MARGIN - 0.5 * FIELD
    x, y = at[None, :] - place.x_px - REST_X, at[:, None] - place.y_px - REST_Y
    angle = 2.0 * np.pi * place.turn
    c, s = round(float(np.cos(angle)), 9), round(float(np.sin(angle)), 9)
    u, v = c * x + s * y, c * y - s * x
    u = u + place.shear * v
    scale = cells.shape[0] / place.size_px
    middle_x, middle_y = 0.5 * cells.shape[1] - 0.5, 0.5 * cells.shape[0] - 0.5
    surface = _spline(cells, u * scale / place.aspect + middle_x, v * scale + middle_y)
    surface = _blurred(surface, _SMOOTH / scale * FINE)
    return _blurred(_strokes(surface, place.half_px), place.blur_px * FINE)


def _strokes(surface: Grid, half_px: float) -> Grid:
    """Ink of 0 to 1 along the ridges of a surface."""
    gy, gx = np.gradient(surface, 1.0 / FINE)
    (gyy, gyx), gxx = np.gradient(gy, 1.0 / FINE), np.gradient(gx, 1.0 / FINE, axis=1)
    mean, apart = 0.5 * (gxx + gyy), 0.5 * (gxx - gyy)
    curvature = mean - np.sqrt(apart * apart + gyx * gyx)  # across the ridge: the lesser eigenvalue
    first = gyx * gyx + (curvature - gxx) ** 2 > (curvature - gyy) ** 2 + gyx * gyx
    nx = np.where(first, gyx, curvature - gyy)  # its eigenvector, by the longer of two forms
    ny = np.where(first, curvature - gxx, gyx)
    length = np.sqrt(nx * nx + ny * ny) + 1e-12
    way = np.abs((gx * nx + gy * ny) / length / np.minimum(curvature, -1e-6))
    pen = np.clip((half_px - way) / _SOFT_PX + 0.5, 0.0, 1.0)
    bent = np.clip((-curvature - _FLAT) / _FLAT, 0.0, 1.0)
    return pen * bent * np.clip((surface - _FAINT) / _FAINT_WIDTH, 0.0, 1.0)


def _spline(cells: Grid, u: Grid, v: Grid) -> Grid:
    """Cubic B-spline, which spreads cells over their neighbours; 0 outside."""
    padded = np.pad(cells, 3)
    iu, iv = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    wu, wv = _weights(u - iu), _weights(v - iv)
    out = np.zeros(u.shape)
    height, width = padded.shape
    for a in range(4):
        row = np.clip(iv + a - 1 + 3, 0, height - 1)
        for b in range(4):
            column = np.clip(iu + b - 1 + 3, 0, width - 1)
            out += wv[a] * wu[b] * padded[row, column]
    return out


def _weights(f: Grid) -> tuple[Grid, ...]:
    g = 1.0 - f
    return (
        g * g * g / 6.0,
        (4.0 - 6.0 * f * f + 3.0 * f * f * f) / 6.0,
        (4.0 - 6.0 * g * g + 3.0 * g * g * g) / 6.0,
        f * f * f / 6.0,
    )


def _blurred(image: Grid, sigma: float) -> Grid:
    """By three box filters one after another, which come near a Gaussian; widths in whole raster points."""
    half = max(1, round((np.sqrt(4.0 * sigma * sigma + 1.0) - 1.0) / 2.0))
    for axis in (0, 1):
        for _ in range(3):
            pad = [(half + 1, half) if k == axis else (0, 0) for k in (0, 1)]
            total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis)
            n = total.shape[axis]
            upper = np.take(total, range(2 * half + 1, n), axis)
            image = (upper - np.take(total, range(n - 2 * half - 1), axis)) / (2 * half + 1)
    return np.round(image * _STEPS) / _STEPS
