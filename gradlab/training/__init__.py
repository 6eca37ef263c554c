"""How it learns: a cell over time, optimisers, and the loop."""
