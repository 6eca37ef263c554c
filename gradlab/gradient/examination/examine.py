"""The examination of a cell: everything that can be told from its three functions, in a few seconds."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax

from gradlab.adapters import is_own_network
from gradlab.cells import Cell
from gradlab.errors import GradlabError
from gradlab.gradient.examination import contract, equivalence
from gradlab.gradient.examination.derivatives import derivatives
from gradlab.gradient.examination.extremes import extremes
from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.instrument import instrument, memory
from gradlab.gradient.examination.likeness import likeness
from gradlab.gradient.examination.subject import CellSizes, Subject, subject

Found = CellFinding | list[CellFinding]
SMALL = CellSizes()
CURVES: tuple[tuple[str, Callable[[Subject], list[CellFinding]]], ...] = (
    ("instrument", instrument),
    ("memory", memory),
)


def check_cell(
    cell: Cell,
    *,
    input_size: int = 3,
    hidden_size: int = 8,
    batch_size: int = 4,
    seed: int = 0,
    like: Cell | None = None,
    like_name: str = "",
    on_finding: Callable[[str], None] = lambda text: None,
) -> list[CellFinding]:
    """What is wrong with a cell, and what it can remember.

    Args:
        cell: any object with `init`, `carry` and `step`.
        input_size, hidden_size, batch_size: how large it is made; a batch of at least 2.
        seed: of its parameters and inputs.
        like: a cell that it should equal with the same parameters, called `like_name`.
        on_finding: is told the name of each examination when it is done.

    Returns:
        One finding or more of each examination, in their order. Where the contract is broken, none after that.

    Raises:
        GradlabError: `cell` is a class, a size is out of range, or `like` has other parameters.

    Example:
        >>> [(found.name, found.verdict) for found in check_cell(object())]
        [('shapes', 'fault')]
    """
    if isinstance(cell, type):
        raise GradlabError(f"`{cell.__name__}` is a class: give an object of it, `{cell.__name__}(...)`")
    if is_own_network(cell):
        raise GradlabError(f"{type(cell).__name__} has no state: what is examined is the step of a cell")
    sizes = CellSizes(input_size, hidden_size, batch_size, seed)
    for name, least in (("input_size", 1), ("hidden_size", 1), ("batch_size", 2)):
        if getattr(sizes, name) < least:
            raise GradlabError(f"{name} is {getattr(sizes, name)}: give a whole number of at least {least}")
    found = []
    with jax.enable_x64(False):
        for one in examine(cell, sizes, like, like_name):
            on_finding(f"examined: {one.name}")
            found.append(one)
    return found


def examine(
    cell: Cell, sizes: CellSizes = SMALL, like: Cell | None = None, like_name: str = ""
) -> Iterator[CellFinding]:
    """The findings of `check_cell`, one by one as they are made."""
    found = contract.shapes(cell, sizes)
    yield found
    if found.verdict == "fault":
        return
    for pure in _tried("determinism", lambda: [contract.purity(cell, sizes)]):
        yield pure
        if pure.verdict == "fault":
            return
    double = contract.double(cell, sizes)
    yield double
    if double.verdict == "fault":
        return
    try:
        of = subject(cell, sizes)
    except (Exception, SystemExit) as error:
        yield _failed("path", error)
        return
    started = contract.start(of)
    yield started
    if started.verdict == "fault":
        return
    if like is not None:
        yield likeness(of, like, like_name)
    yield from _in_order(of)


def _in_order(of: Subject) -> Iterator[CellFinding]:
    examined: tuple[tuple[str, Callable[[Subject], Found]], ...] = (
        ("random numbers", contract.draws),
        ("casts", contract.rounding),
        ("state changes", contract.frozen_leaves),
        ("jit", equivalence.eager),
        ("scan", equivalence.scan),
        ("vmap", equivalence.single_examples),
        ("examples", equivalence.examples),
        ("linear", equivalence.linearity),
        ("derivative", derivatives),
        ("float32", equivalence.precision),
        ("extremes", extremes),
    )
    faults: set[str] = set()
    for name, examine in examined:
        if "casts" in faults and name in ("derivative", "float32"):
            continue  # what rounds inside has no derivative to compare with
        for one in _tried(name, partial(_listed, examine, of)):
            faults.add(one.name if one.verdict == "fault" else "")
            yield one
    if faults & {"examples", "linear", "scan", "jit"}:
        yield CellFinding("curve", "note", None, "no curve is measured of a cell with a fault of these: see above")
        return
    for name, measure in CURVES:
        yield from _tried(name, partial(measure, of))


def _listed(examine: Callable[[Subject], Found], of: Subject) -> list[CellFinding]:
    found = examine(of)
    return [found] if isinstance(found, CellFinding) else found


def _tried(name: str, examine: Callable[[], Iterable[CellFinding]]) -> Iterator[CellFinding]:
    """What an examination finds; that the cell fails in it is a finding."""
    try:
        yield from examine()
    except GradlabError as error:
        yield CellFinding(name, "fault", None, str(error))
    except (Exception, SystemExit) as error:
        yield _failed(name, error)


def _failed(name: str, error: BaseException) -> CellFinding:
    return CellFinding(name, "fault", None, f"the cell fails in this examination: {contract.failure(error)}")
