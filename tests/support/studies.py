"""Stored sweeps over lengths whose findings are known."""

from synthetic import CONFIG, falling, put

from gradlab.runs.store import Store
from gradlab.runs.sweeps import StoredSweep

LENGTHS = (20, 40, 80)
EVIL = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"


def trained(root, solves, *, lost=0.05, cells=("lstm",), seeds=3):
    """Runs at three lengths; `solves(cell, length, seed)`, and `lost` decades per timestep before training."""
    for cell in cells:
        for length in LENGTHS:
            for seed in range(seeds):
                status = "solved" if solves(cell, length, seed) else "trained"
                curves = [falling(decades, length) for decades in (lost * length, lost * length, 0.5)]
                put(root, curves, status=status, cell=cell, length=length, seed=seed)


def sweep_of(root, *, absent=(), name="adding_length", **more):
    """The sweep that asked for every run of a folder, and for some that are not there."""
    runs = [{"id": run.id, "config": run.config} for run in Store(root).each()]
    runs += [
        {"id": f"adding-gru-T20-s{seed}", "config": CONFIG | {"cell": "gru", "seed": seed}} for seed in absent
    ]
    given = {"title": "Which cell remembers?", "question": "To which T?", "source": None}
    given |= {"file": f"experiments/{name}.toml", "overrides": ()}
    return StoredSweep(name=name, runs=tuple(runs), **given | more)
