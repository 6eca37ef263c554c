"""What a process does that computes the runs of a list, one at a time: each writes itself and is reported by id.

A worker of Dask imports this file before anything else, so it loads jax only when the processor has been set up.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from gradlab.errors import GradlabError
from gradlab.runs.cache import use_cache
from gradlab.runs.deadline import Deadline, OutOfTime
from gradlab.runs.memory import keep_memory
from gradlab.runs.sources import working_in
from gradlab.runs.store import Store, StoredRun

if TYPE_CHECKING:
    from gradlab.runs.spec import RunSpec
    from gradlab.training.loop import Event

Tell = Callable[[dict[str, Any]], None]

ONE_CORE = {"PJRT_NPROC": "1"}
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
"""Known to every jaxlib that is supported; XLA ends the process over a flag that it does not know."""
TELL_EVERY = 1.0
"""Seconds between two messages of a run about how far it is."""

_halted: dict[str, bool] = {}
_lock = threading.Lock()
_ready = False


class Order(NamedTuple):
    """Runs that a worker is to do: one, or several of equal shape as one program.

    Attributes:
        fields: of each spec. run_ids: the ids that must follow from them.
        root: the results folder.
        timeout: seconds that they may take.
        invocation: the command that asks; what stops it stops nothing else on a shared cluster.
        number: which try of the first run this is.
        gpus: those of this machine, of which each worker takes one.
        folder: where the command that asks was typed, from which on the paths of own cells are read.
    """

    fields: tuple[dict[str, Any], ...]
    run_ids: tuple[str, ...]
    root: str
    timeout: float | None
    invocation: str
    number: int = 0
    gpus: tuple[str, ...] = ()
    folder: str = ""

    @property
    def key(self) -> str:
        """A name that no other order has."""
        return f"{self.run_ids[0]}-{self.invocation}-{self.number}"

    @property
    def deadline(self) -> Deadline:
        """The time that it may take, beginning now."""
        return Deadline(self.timeout)

    def reports(self, status: str, reason: str | None = None) -> "tuple[Report, ...]":
        """The same of every run."""
        return tuple(Report(run_id, status, reason) for run_id in self.run_ids)


class Report(NamedTuple):
    """How an order ended: a status of the store, or `waiting` where it was halted before it began.

    `fresh` is False where the run was there already.
    """

    run_id: str
    status: str
    reason: str | None = None
    fresh: bool = True


def carry_out(order: Order) -> tuple[Report, ...]:
    """Do the runs of an order in a worker of Dask."""
    from distributed import get_worker

    worker = get_worker()
    with _lock:
        _prepare(order.gpus, worker.name)
    if order.invocation in _halted:
        return order.reports("waiting")

    def tell(message: dict[str, Any]) -> None:
        worker.log_event(order.invocation, message)

    try:
        with working_in(order.folder):
            specs = _specs_of(order)
            if bitten(order):
                return order.reports("failed", order.deadline.reason)
            for run_id in order.run_ids:
                tell({"id": run_id, "execution": _execution(specs)})
            hears = [_Hearing(order, run_id, tell) for run_id in order.run_ids]
            return perform(order, specs, hears, guard=_watchdog)
    except KeyboardInterrupt:
        return order.reports("interrupted")
    except GradlabError as error:
        return order.reports("failed", str(error))


def perform(
    order: Order,
    specs: Sequence["RunSpec"],
    hears: Sequence[Callable[["Event"], None]],
    guard: Callable[[Order, Sequence["RunSpec"], Deadline], AbstractContextManager[None]],
    shards: int | None = None,
) -> tuple[Report, ...]:
    """Do the runs that are not done, and store how they failed if they do.

    Args:
        hears: for each run, hears its events.
        guard: what stops them where one hangs past its deadline.
        shards: devices that the batches of a single run are split over; its errors are then raised.

    Raises:
        GradlabError: with `shards`, what stopped the run.
        KeyboardInterrupt: they were stopped, and are stored as interrupted.
    """
    from gradlab.runs.execute import run_together

    store, deadline = Store(order.root), order.deadline
    reports = {spec.id: report for spec in specs if (report := _done(store, spec))}
    todo = [spec for spec in specs if spec.id not in reports]

    def observer(hear: Callable[["Event"], None]) -> Callable[["Event"], None]:
        def observe(event: "Event") -> None:
            deadline.check()
            hear(event)

        return observe

    observers = [observer(hear) for spec, hear in zip(specs, hears, strict=True) if spec.id not in reports]
    if todo:
        try:
            with guard(order, todo, deadline):
                results = run_together(todo, store.root, observers, shards=shards or 1)
            reports |= {end.spec.id: Report(end.spec.id, end.status, end.reason) for end in results}
        except (GradlabError, OutOfTime, SystemExit) as error:
            if shards is not None and isinstance(error, GradlabError):
                raise
            told = isinstance(error, GradlabError | OutOfTime)
            reason = str(error) if told else f"it called sys.exit({error})"
            for spec in todo:
                ended = _done(store, spec)
                reports[spec.id] = (
                    ended._replace(fresh=True) if ended else Report(spec.id, "failed", bury(order, spec, reason))
                )
    return tuple(reports[spec.id] for spec in specs)


def _done(store: Store, spec: "RunSpec") -> Report | None:
    """How a run ended that was there already."""
    stored = store.completed(spec.id, spec.config())
    return Report(spec.id, stored.status, fresh=False) if stored else None


def bury(order: Order, spec: "RunSpec", reason: str) -> str:
    """Store that a run failed, with the checkpoints that a dead process left; returns the reason."""
    from gradlab.runs.execute import RunResult

    done = RunResult(spec, status="failed", reason=reason).as_dict()
    for name in ("spec", "checkpoints", "path"):
        del done[name]
    try:
        attempt = Store(order.root).take_over(spec.id, spec.config())
        seen = StoredRun(spec.id, attempt.path, "failed", {}).log()
        done["training_steps"] = max((line["step"] for line in seen), default=0)
        attempt.finish(done | {"order": order.key})
    except GradlabError:
        pass  # a full disk is likely what it failed of, and the caller tells the reason
    return reason


def bitten(order: Order) -> bool:
    """Whether a process ended itself over this very order, because its run hung."""
    if order.timeout is None:
        return False
    store = Store(order.root)
    stored = store.peek(order.run_ids[0])
    return stored is not None and order.key in (stored.done.get("order"), store.redone(order.run_ids[0])[1])


def halt(invocation: str, running: bool) -> None:
    """Begin no other run of this command here; stop one that is `running` at its next event."""
    _halted[invocation] = running


def use_one_core() -> None:
    """Let XLA compute on one core, so that a run has the same bits however many run beside it.

    What jax has started with already stays as it is.
    """
    import jax

    devices: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:  # the number of devices can only be changed before jax starts, which nothing else tells in public
        jax.config.update("jax_num_cpu_devices", max(devices, 0) + 1)
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        return
    os.environ.update(ONE_CORE)
    flags = os.environ.get("XLA_FLAGS", "").split()
    if SINGLE_THREADED not in flags:
        os.environ["XLA_FLAGS"] = " ".join([*flags, SINGLE_THREADED])


def _prepare(gpus: Sequence[str], name: object) -> None:
    """What `gradlab` sets at its start, in a worker; once."""
    global _ready
    if _ready:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_memory()
    if "" not in sys.path:
        sys.path.append("")
    if gpus and isinstance(name, int):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[name % len(gpus)]
    use_one_core()
    use_cache(clean=False)
    # Two workers may compile the same program at once; who reads it while the other writes compiles it again.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    _ready = True


def _specs_of(order: Order) -> list["RunSpec"]:
    from gradlab.runs.spec import RunSpec

    specs = [RunSpec.from_dict(fields) for fields in order.fields]
    for spec, run_id in zip(specs, order.run_ids, strict=True):
        if spec.id != run_id:
            raise GradlabError(
                f"the worker reads it as {spec.id}: the source of its cell changed, or another gradlab is there"
            )
    return specs


def _execution(specs: Sequence["RunSpec"]) -> dict[str, Any]:
    from gradlab.runs.environment import execution

    return execution(specs[0].dtype, together=len(specs))


class _Hearing:
    """Hears the events of a run in a worker: halts it when asked to, and tells how far it is."""

    def __init__(self, order: Order, run_id: str, tell: Tell) -> None:
        self._order, self._run_id, self._tell, self._next = order, run_id, tell, 0.0

    def __call__(self, event: "Event") -> None:
        if _halted.get(self._order.invocation):
            raise KeyboardInterrupt
        step = getattr(event, "step", 0)
        if step and time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_EVERY
            self._tell({"id": self._run_id, "step": step})


def _watchdog(order: Order, specs: Sequence["RunSpec"], deadline: Deadline) -> AbstractContextManager[None]:
    """Ends the process of a run that hangs: nothing else stops Python code that does not return."""

    def bite() -> None:
        if len(specs) == 1:  # which of several it is will be seen when each is tried alone
            bury(order, specs[0], deadline.reason)
        os._exit(1)

    return deadline.watchdog(bite)
