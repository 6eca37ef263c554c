"""gradlab on a GPU: the science tests, the commands, and its speed beside cuDNN and flax, in a few minutes.

`python -m bench.gpu --out DIR` measures, `python -m bench.gpu page DIR` writes `results/bench-gpu.md`. Each part
is a process with a time limit, and what it found is written at once, so that none can lose what another found.
Without a GPU, `--small` goes through everything at toy sizes.
"""
