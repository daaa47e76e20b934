"""The networks and their lowered form. `graph.py` and what it needs never import torch."""
