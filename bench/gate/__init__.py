"""How many faults the gate catches, and how often it cries wolf: the study behind results/gate-study.md."""
