"""What a task is: sequences that can only be answered by remembering, and the loss of an answer."""

from typing import Any, Literal, NamedTuple, Protocol

from jax import Array


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
