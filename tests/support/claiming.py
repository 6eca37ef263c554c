"""Claims and their tables made by hand."""

from gradlab.judge.claims.files import load_claim
from gradlab.judge.claims.verdicts import ClaimRow

HEAD = """
claim = "An RNN loses its gradient."
source = "a paper, section 2"
minutes = 0.5
"""
SWEEP = """
[base]
task = "adding"
length = 50

[grid]
cell = ["rnn", "lstm"]
seed = [0, 1, 2, 3, 4]

[budget]
steps = 0
"""
FALLS = """
[[expect]]
metric = "initial.span"
where = {cell = "rnn"}
comparison = "<"
value = -3
"""


def write_claim(folder, text, name="one"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def claim_of(folder, *tables, head=HEAD):
    """The claim of a file with these tables after the sweep."""
    return load_claim(write_claim(folder, head + SWEEP + "".join(tables)))


def rows_of(metric="initial.span", **spans):
    """Rows of `SWEEP` by cell: one number for each seed from 0 on, None where a run has none."""
    return [
        ClaimRow(
            {"task": "adding", "length": "50", "cell": cell, "seed": str(seed), "steps": "0"}, {metric: span}, 1.0
        )
        for cell, values in spans.items()
        for seed, span in enumerate(values)
    ]
