"""What a task is: sequences that can only be answered by remembering, and the loss of an answer."""

from typing import Any, Literal, NamedTuple, Protocol, TypeGuard

from jax import Array

Part = Literal["validation", "test"]


class Batch(NamedTuple):
    """B sequences: `inputs` (T, B, I), and `targets`, any arrays, as the task's loss reads them."""

    inputs: Array
    targets: Any


class Task(Protocol):
    """Any object with these sizes and pure functions can be trained on."""

    @property
    def input_size(self) -> int:
        """I, the size of an input at one timestep."""

    @property
    def output_size(self) -> int:
        """O, what the readout gives."""

    @property
    def min_length(self) -> int:
        """The shortest length that makes sense."""

    @property
    def readout(self) -> Literal["last", "all"]:
        """Whether the loss reads the last output alone or all of them."""

    def steps(self, length: int) -> int:
        """T, the timesteps of a sequence of that length."""

    def sample(self, key: Array, batch_size: int, length: int) -> Batch:
        """`batch_size` independent examples drawn from `key`."""

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """The loss (B,) of each example; `outputs` are (T, B, O), or (1, B, O) where `readout` is last."""

    def chance(self, length: int) -> float:
        """The expected loss of the best answer that remembers nothing."""

    def solved(self, length: int) -> float:
        """The loss at or below which the task counts as solved."""

    def task_curve(self, length: int) -> int | None:
        """The timestep whose single-step gradient needs the memory, or None for the total gradient."""


class DataTask(Task, Protocol):
    """A task on recorded data, of which training sees one part, and others decide and judge."""

    @property
    def digest(self) -> str:
        """Of the data, which differ between versions of where they come from."""

    def held_out(self, part: Part, key: Array, batch_size: int, length: int) -> Batch:
        """As `sample`, from another part of the data."""

    def evaluation(self, part: Part, length: int) -> Batch:
        """Another part in fixed windows (N, ...), each a batch that goes on where the one before it ended."""


class StreamTask(DataTask, Protocol):
    """A task whose training may go on, in each training step, from the state at the end of the one before."""

    @property
    def carry(self) -> bool:
        """Whether the state is carried on."""

    def stream(self, key: Array, step: Array, batch_size: int, length: int) -> Batch:
        """The examples of a training step, each of which goes on where it ended in the one before."""


def is_data_task(task: Any) -> TypeGuard[DataTask]:
    """Whether a task has data of its own for validation and test.

    Example:
        >>> from gradlab.tasks import adding, forecast
        >>> is_data_task(adding()), is_data_task(forecast())
        (False, True)
    """
    return callable(getattr(task, "evaluation", None))


def carries_state(task: Any) -> TypeGuard[StreamTask]:
    """Whether training carries the state from one training step to the next."""
    return bool(getattr(task, "carry", False))


def held_out(task: Task, part: Part, key: Array, batch_size: int, length: int) -> Batch:
    """Examples that training does not see; where all are drawn anew, another key is enough."""
    if is_data_task(task):
        return task.held_out(part, key, batch_size, length)
    return task.sample(key, batch_size, length)


def training_length(task: Task, length: int) -> int:
    """The length of the sequences of a training step: the task's `window` where it has one."""
    return getattr(task, "window", 0) or length


def token_count(task: Task) -> int:
    """How many token ids the inputs (T, B, 1) are of, for which vectors are learned; 0 where they are numbers."""
    return getattr(task, "tokens", 0)


def score_of(task: Task, loss: float) -> str:
    """A loss in the measure that is usual for the task, such as a perplexity; "" where there is none.

    Example:
        >>> from gradlab.tasks import adding, language
        >>> score_of(adding(), 0.5), score_of(language("word"), 5.0)
        ('', 'perplexity 148.4')
    """
    score = getattr(task, "score", None)
    return "" if score is None else score(loss)
