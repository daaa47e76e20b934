"""Numba loops of temporal attention on a current: one look at it, and the number it is multiplied by.

The formulas are those of models/gates.py, for one stream at one step.

    current   (P C,): channels are filled up to whole vectors; absent (C,): 0 for those that are there, -inf
              for the others
    weights   w0 (hidden, T), w1 (T, hidden), b0 (hidden,), b1 (T,): score = w1[t] (relu(w0 s + b0) + ...)
              + b1[t]
"""

import math

import numba
import numpy as np

from spikeline.pipeline.engines.sparse.vectors import full, lanes_16, lanes_32, lanes_64, load, select, size
from spikeline.pipeline.engines.sparse.vectors_real import larger, largest, total

FORMS = ("sliding", "prefix", "static")
SLIDING, PREFIX, STATIC = range(len(FORMS))
NIL, LOW = np.float32(0), np.float32(-np.inf)
BLOCK = 64  # pixels whose sum is made apart: a long sum of float32 loses bits


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pooled(current, many, absent, like):
    """Mean and maximum of all values of a current (P C,) whose first `many` channels are there."""
    C = absent.shape[0]
    P = current.shape[0] // C
    whole, highest = 0.0, full(LOW, like)
    for start in range(0, P, BLOCK):
        added = full(NIL, like)
        for p in range(start, min(P, start + BLOCK)):
            for c in range(0, C, size(like)):
                v = load(current, p * C + c, like)
                if c + size(like) > many:
                    outside = load(absent, c, like)
                    added = added + select(outside < NIL, full(NIL, like), v)
                    highest = larger(v + outside, highest)
                else:
                    added = added + v
                    highest = larger(v, highest)
        whole += total(added)
    return np.float32(whole / (P * many)), largest(highest)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_hidden(form, value, t, state, mean, base, w0, b0, hidden):
    """Enter a step's statistic into its state, and relu(w0 s + b0) into hidden (n,).

    sliding   state (T,): the statistics of the last T steps
    prefix    state (n,): w0 times what the steps so far have beyond the training's mean (T,); base = w0 mean
    static    no state; base: the sums of w0's rows
    """
    T = w0.shape[1]
    if form == SLIDING:
        for k in range(T - 1):
            state[k] = state[k + 1]
        state[T - 1] = value
    for i in range(hidden.shape[0]):
        part = b0[i]
        if form == SLIDING:
            for k in range(T):
                part += w0[i, k] * state[k]
        elif form == PREFIX:
            state[i] += w0[i, t] * (value - mean[t])
            part += state[i] + base[i]
        else:
            part += value * base[i]
        hidden[i] += max(part, NIL)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def time_gate(lanes, current, many, absent, form, step, average, peak, weights, hard, threshold, hidden):
    """The gate of one step, in (0, 1), or where it is hard 0 or 1. step: how many there were before.

    average, peak   state, mean and base of `add_hidden`; without a base the peak is left out
    """
    w0, w1, b0, b1 = weights
    if lanes == 64:
        mean, most = pooled(current, many, absent, lanes_64())
    elif lanes == 32:
        mean, most = pooled(current, many, absent, lanes_32())
    else:
        mean, most = pooled(current, many, absent, lanes_16())
    last = w1.shape[0] - 1
    t = last if form == SLIDING else min(step, last)
    hidden[:] = 0
    add_hidden(form, mean, t, average[0], average[1], average[2], w0, b0, hidden)
    if peak[2].shape[0] != 0:
        add_hidden(form, most, t, peak[0], peak[1], peak[2], w0, b0, hidden)
    score = b1[t]
    for i in range(hidden.shape[0]):
        score += w1[t, i] * hidden[i]
    e = np.float32(math.exp(-abs(score)))
    gate = (np.float32(1) if score >= 0 else e) / (np.float32(1) + e)
    if hard:
        return np.float32(gate >= threshold)
    return gate
