"""Torch and BLAS on one thread: small tensors gain nothing from two, and a busy machine loses a lot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
