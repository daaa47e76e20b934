"""Training: data, loss, loop. Needs the extra `train`."""
