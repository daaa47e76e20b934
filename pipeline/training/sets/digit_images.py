"""The pictures behind `sim:digits`: scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

from functools import cache
from typing import Any

from spikeline.pipeline.events import SourceError


@cache
def digit_images() -> tuple[Any, Any]:
    """Grey levels (N, 8, 8) from 0 to 16, and labels (N,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SourceError(
            "sim:digits: its pictures come with scikit-learn: pip install scikit-learn"
        ) from error
    digits = load_digits()
    return digits.images, digits.target
