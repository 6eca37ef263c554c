"""Beside the memory of one cell, that of an LSTM with the same settings."""

from gradlab.cli.present import reach
from gradlab.runs.sources import is_own
from gradlab.runs.spec import FIELDS, SETTABLE, command, run_id, stored_config
from gradlab.runs.store import Store, StoredRun

_LSTM = "lstm"


def lstm_beside(store: Store, run: StoredRun) -> str:
    """How far an LSTM with the settings of a run reaches; for a custom cell, else the command that measures it.

    The LSTM is trained as the run was, or else only measured before training. "" where there is nothing to say.

    Args:
        run: whose config is not made a `RunSpec`, because that loads jax.
    """
    config = run.config
    if config.get("imported") or config["cell"] == _LSTM or not run.done.get("summary"):
        return ""
    same = {name: config.get(name, each.default) for name, each in FIELDS.items()}
    same |= {"cell": _LSTM, "cell_source": None, "params": None}
    untrained = same | {name: each.default for name, each in SETTABLE.items() if each.of_training} | {"steps": 0}
    plain = {"also": "none"}  # what is worked out beside the curve does not change it
    for settings in (same, same | plain, untrained, untrained | plain):
        other = store.peek(run_id(stored_config(settings)))
        if other is not None and other.finished and (marks := other.done.get("summary")):
            return f"an LSTM with these settings: {reach(marks['final'])}"
    if not is_own(config["cell"].partition(":")[0]):
        return ""
    both = f"{config['cell']},{_LSTM}"
    return f"to compare with an LSTM: {command(untrained | plain | {'cell': both}, defaults=False)}"
