"""Names of settings: the cell, and what differs from the other settings. Loads no jax."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from gradlab.runs.spec import FIELDS

BUILT_IN = ("rnn", "lstm", "gru")
BUILT_IN_INIT = "orthogonal"
"""Their default `init`, stated here for those that load no jax."""
_USUAL = [("measure", FIELDS["measure"].default)]
"""Of a field that says only what is recorded the default goes without saying."""
_OF_PROBES = [name for name, each in FIELDS.items() if each.of_weights]


def cell_label(cell: str, parts: int = 1) -> str:
    """A cell variant as titles show it; a custom one with its file or module.

    Args:
        parts: how many parts of a path are shown, counted from its end.

    Example:
        >>> cell_label("lstm"), cell_label("rnn:gain=0.5"), cell_label("cells/my.py:LSTM:gain=2")
        ('LSTM', 'RNN gain=0.5', 'my.py:LSTM gain=2')
        >>> cell_label("indrnn:t_max=50"), cell_label("stacked:lstm:layers=3")
        ('indrnn t_max=50', 'stacked:lstm layers=3')
    """
    name, *rest = cell.split(":")
    inside = list(takewhile(lambda part: "=" not in part, rest))
    if name in BUILT_IN:
        name = name.upper()
    elif name.endswith(".py"):
        name = str(PurePosixPath(*PurePosixPath(name).parts[-parts:]))
    return " ".join([":".join([name, *inside]), *rest[len(inside) :]])


def cell_labels(cells: Iterable[str]) -> dict[str, str]:
    """A unique name for each of several variants: of the paths of custom cells only as much as needed.

    Example:
        >>> cell_labels(["a/my.py:Cell", "b/my.py:Cell", "my.py:Other"])
        {'a/my.py:Cell': 'a/my.py:Cell', 'b/my.py:Cell': 'b/my.py:Cell', 'my.py:Other': 'my.py:Other'}
    """
    found = {cell: cell_label(cell) for cell in cells}
    deepest = max((len(PurePosixPath(cell.split(":")[0]).parts) for cell in found), default=0)
    for parts in range(2, deepest + 1):
        count = Counter(found.values())
        found = {cell: name if count[name] == 1 else cell_label(cell, parts) for cell, name in found.items()}
    count = Counter(found.values())
    return {cell: name if count[name] == 1 else cell for cell, name in found.items()}


def init_of(cell: str) -> str:
    """How the recurrent weights of a cell start, from its variant alone.

    Example:
        >>> init_of("rnn"), init_of("lstm:init=torch"), init_of("cornn")
        ('orthogonal', 'torch', 'the default of the cell')
    """
    name, *rest = cell.split(":")
    options = dict(part.split("=", 1) for part in rest if "=" in part)
    return options.get("init") or (BUILT_IN_INIT if name in BUILT_IN else "the default of the cell")


def varying(settings: Sequence[Mapping[str, Any]], *, without: Sequence[str] = ()) -> list[str]:
    """The fields in which settings differ, in the order of `RunSpec`.

    Example:
        >>> varying([{"cell": "rnn", "clip": "none"}, {"cell": "rnn", "clip": "norm:1"}])
        ['clip']
    """
    names = dict.fromkeys((*FIELDS, *(name for setting in settings for name in setting)))
    return [name for name in names if name not in without and len({str(each.get(name)) for each in settings}) > 1]


def labels(settings: Sequence[Mapping[str, Any]], *, without: Sequence[str] = ()) -> list[str]:
    """A short name for each setting of one task and length: its cell, and how it differs from others of that cell.

    `settings` have no seed; `without` are fields that are shown elsewhere.

    Example:
        >>> labels([{"cell": "rnn", "task": "adding", "steps": 9, "clip": clip} for clip in ("none", "norm:1")])
        ['RNN, clip none', 'RNN, clip norm:1']
    """
    names = cell_labels(setting["cell"] for setting in settings)
    known = ("task", "cell", "length", *without)
    rivals: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for each in settings:
        rivals.setdefault((each["task"], each["cell"]), []).append(each)
    apart = {key: _Rivals(some, known) for key, some in rivals.items()}
    return [", ".join([names[each["cell"]], *apart[each["task"], each["cell"]].words(each)]) for each in settings]


def listed(names: Sequence[str]) -> list[str]:
    """Names of settings as a sentence lists them: what tells settings of one cell apart stands behind it.

    Example:
        >>> listed(["LSTM, hidden 32", "RNN", "LSTM, hidden 64, clip none"])
        ['LSTM (hidden 32; hidden 64, clip none)', 'RNN']
    """
    cells: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        cell, _, rest = name.partition(", ")
        cells.setdefault((cell, bool(rest)), []).append(rest)
    return [f"{cell} ({'; '.join(rest)})" if apart else cell for (cell, apart), rest in cells.items()]


def describe(name: str, value: Any) -> str:
    """A field with its value, in words.

    Example:
        >>> describe("steps", 100), describe("learning_rate", 0.01), describe("cell_source", "0123456789abcdef")
        ('100 training steps', 'learning rate 0.01', 'source 01234567')
    """
    text = format_value(value)
    if name == "params":
        return "initial weights" if text == "none" else f"weights of {text}"
    if name in ("cell_source", "task_source"):
        return f"{'source' if name == 'cell_source' else 'source of the task'} {text[:8]}"
    if name == "max_params":
        return f"at most {value:,} parameters"
    return f"{text} training steps" if name == "steps" else f"{name.replace('_', ' ')} {text}"


def format_value(value: Any) -> str:
    """The value of a field as tables show it: different numbers never look alike.

    Example:
        >>> format_value(0.010), format_value(0.0100000001), format_value("norm:1")
        ('0.01', '0.0100000001', 'norm:1')
    """
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


class _Rivals:
    """The settings of one task and cell, and the fields in which they differ, found once for all of them."""

    def __init__(self, settings: Sequence[Mapping[str, Any]], known: Sequence[str]) -> None:
        kinds: dict[bool, list[Mapping[str, Any]]] = {}
        for each in settings:
            kinds.setdefault(_is_trained(each), []).append(each)
        self._fields = varying(settings, without=known)
        # A probe has training fields too, which have no effect: they do not distinguish it from trained runs.
        self._same_kind = {kind: varying(some, without=known) for kind, some in kinds.items()}

    def words(self, setting: Mapping[str, Any]) -> list[str]:
        """How one of them differs from the others."""
        trained = _is_trained(setting)
        words = ["probe"] if not trained and len(self._same_kind) > 1 else []
        for name in self._fields:
            apart = name in self._same_kind[trained] or name in _OF_PROBES
            if name in setting and apart and (name, setting[name]) not in _USUAL:
                words.append(describe(name, setting[name]))
        return words


def _is_trained(setting: Mapping[str, Any]) -> bool:
    return bool(setting.get("steps", True))  # only where training is tuned it is left out
