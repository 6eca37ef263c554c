"""What a process does that computes the runs of a list, one at a time: each writes itself and is reported by id.

A worker of Dask imports this file before anything else, so it loads jax only when the processor has been set up.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from gradlab.errors import GradlabError
from gradlab.runs.cache import use_cache
from gradlab.runs.deadline import Deadline, OutOfTime
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
    """A run that a worker is to do.

    Attributes:
        fields: of its spec. run_id: the id that must follow from them.
        root: the results folder.
        timeout: seconds that it may take.
        invocation: the command that asks; what stops it stops nothing else on a shared cluster.
        number: which try this is.
    """

    fields: dict[str, Any]
    run_id: str
    root: str
    timeout: float | None
    invocation: str
    number: int = 0

    @property
    def key(self) -> str:
        """A name that no other order has."""
        return f"{self.run_id}-{self.invocation}-{self.number}"

    @property
    def deadline(self) -> Deadline:
        """The time that it may take, beginning now."""
        return Deadline(self.timeout)


class Report(NamedTuple):
    """How an order ended: a status of the store, or `waiting` where it was halted before it began.

    `fresh` is False where the run was there already.
    """

    run_id: str
    status: str
    reason: str | None = None
    fresh: bool = True


def carry_out(order: Order) -> Report:
    """Do a run in a worker of Dask."""
    from distributed import get_worker

    with _lock:
        _prepare()
    if order.invocation in _halted:
        return Report(order.run_id, "waiting")
    worker = get_worker()

    def tell(message: dict[str, Any]) -> None:
        worker.log_event(order.invocation, {"id": order.run_id, **message})

    try:
        spec = _spec_of(order)
        if bitten(order):
            return Report(order.run_id, "failed", order.deadline.reason)
        tell({"execution": _execution(spec)})
        return perform(order, spec, _Hearing(order, tell), guard=_watchdog)
    except KeyboardInterrupt:
        return Report(order.run_id, "interrupted")
    except GradlabError as error:
        return Report(order.run_id, "failed", str(error))


def perform(
    order: Order,
    spec: "RunSpec",
    hear: Callable[["Event"], None],
    guard: Callable[[Order, "RunSpec", Deadline], AbstractContextManager[None]],
) -> Report:
    """Do a run unless it is done, and store how it failed if it does.

    Args:
        hear: hears its events.
        guard: what stops it where it hangs past its deadline.

    Raises:
        KeyboardInterrupt: it was stopped, and is stored as interrupted.
    """
    from gradlab.runs.execute import run

    store = Store(order.root)
    if stored := store.completed(spec.id, spec.config()):
        return Report(spec.id, stored.status, fresh=False)
    deadline = order.deadline

    def observe(event: "Event") -> None:
        deadline.check()
        hear(event)

    try:
        with guard(order, spec, deadline):
            result = run(spec, store.root, observe)
        return Report(spec.id, result.status, result.reason)
    except (GradlabError, OutOfTime, SystemExit) as error:
        told = isinstance(error, GradlabError | OutOfTime)
        reason = str(error) if told else f"it called sys.exit({error})"
        return Report(spec.id, "failed", bury(order, spec, reason))


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
    stored = Store(order.root).peek(order.run_id)
    return stored is not None and stored.done.get("order") == order.key


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


def _prepare() -> None:
    """What `gradlab` sets at its start, in a worker; once."""
    global _ready
    if _ready:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "" not in sys.path:
        sys.path.append("")
    use_one_core()
    use_cache(clean=False)
    # Two workers may compile the same program at once; who reads it while the other writes compiles it again.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    _ready = True


def _spec_of(order: Order) -> "RunSpec":
    from gradlab.runs.spec import RunSpec

    spec = RunSpec.from_dict(order.fields)
    if spec.id != order.run_id:
        raise GradlabError(
            f"the worker reads it as {spec.id}: the source of its cell changed, or another gradlab is there"
        )
    return spec


def _execution(spec: "RunSpec") -> dict[str, Any]:
    from gradlab.runs.environment import execution

    return execution(spec.dtype)


class _Hearing:
    """Hears the events of a run in a worker: halts it when asked to, and tells how far it is."""

    def __init__(self, order: Order, tell: Tell) -> None:
        self._order, self._tell, self._next = order, tell, 0.0

    def __call__(self, event: "Event") -> None:
        if _halted.get(self._order.invocation):
            raise KeyboardInterrupt
        step = getattr(event, "step", 0)
        if step and time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_EVERY
            self._tell({"step": step})


def _watchdog(order: Order, spec: "RunSpec", deadline: Deadline) -> AbstractContextManager[None]:
    """Ends the process of a run that hangs: nothing else stops Python code that does not return."""

    def bite() -> None:
        bury(order, spec, deadline.reason)
        os._exit(1)

    return deadline.watchdog(bite)
