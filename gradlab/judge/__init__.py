"""Statistics over seeds, and the comparison of gradient curves with accepted baselines."""
