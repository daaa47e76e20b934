"""The spike-driven engine: a step that costs what its spikes cost, in Numba on an ordinary CPU."""
