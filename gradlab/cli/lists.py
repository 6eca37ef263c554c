"""From the options of a command to the grid of specs they make."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradlab.errors import GradlabError
from gradlab.runs.values import read_values

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec


def grid(fields: Mapping[str, Sequence[str] | None], **fixed: Any) -> list["RunSpec"]:
    """The specs of the full product of the given fields, in the order of the fields; None means the default.

    Raises:
        GradlabError: a value that is wrong, or the same run twice.
    """
    from gradlab.runs.spec import RunSpec

    axes: dict[str, list[Any]] = {}
    for name, given in fields.items():
        if given is None:
            continue
        option = "TASK" if name == "task" else "--" + ("len" if name == "length" else name.replace("_", "-"))
        axes[name] = read_values(name, option, given)
    specs = [
        RunSpec(**dict(zip(axes, values, strict=True)), **fixed) for values in itertools.product(*axes.values())
    ]
    seen: set[str] = set()
    for spec in specs:
        if spec.id in seen:
            raise GradlabError(f"the lists ask for {spec.id} twice: name each value once")
        seen.add(spec.id)
    return specs
