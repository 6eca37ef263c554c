"""One line of an examination."""

from typing import Literal, NamedTuple

CellVerdict = Literal["ok", "fault", "note"]


class CellFinding(NamedTuple):
    """What one examination of a cell found.

    Attributes:
        name: the examination.
        verdict: `ok`; `fault`, which is to be mended; `note`, which is neither right nor wrong.
        number: what was measured, where that is one number; `text` says of what.
        text: what was found, where and, of a fault, what to do.
    """

    name: str
    verdict: CellVerdict
    number: float | None
    text: str
