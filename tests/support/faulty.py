"""A task and a cell that compile in a moment, and the cell fails where a file says so: for tests of sweeps."""

import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.tasks import Batch

SWITCHES = "GRADLAB_TEST_FAULTS"
"""A folder; a fault happens while a file of its name is in it."""
FORKED_SECONDS = 60
"""How long a process lives that a cell forks."""
OWN_GPU = "GRADLAB_TEST_GPUS"
"""A folder, in which `fault=show` says which GPU the process has."""


def is_on(fault):
    folder = os.environ.get(SWITCHES)
    return bool(folder) and (Path(folder) / fault).exists()


class Recall:
    """The first of a few numbers."""

    input_size = output_size = min_length = 1
    readout = "last"

    def steps(self, length):
        return length

    def sample(self, key, batch_size, length):
        values = jax.random.uniform(key, (length, batch_size, 1))
        return Batch(values, values[0, :, 0])

    def loss(self, outputs, batch):
        return (outputs[-1, :, 0] - batch.targets) ** 2

    def chance(self, length):
        return 1 / 12

    def solved(self, length):
        return 1e-9

    def task_curve(self, length):
        return None


class Faulty:
    """hₜ = tanh(a hₜ₋₁ + Σ xₜ); `tag` tells apart cells that compile to the same program."""

    def __init__(self, fault: str = "none", rate: float = 0.5, tag: int = 0, limit: float = 1.0):
        self.fault, self.rate, self.limit = fault, rate, limit

    def init(self, key, input_size, hidden_size):
        if self.fault == "show":
            name = f"{os.environ['CUDA_VISIBLE_DEVICES']}-{os.getpid()}-gpu"
            (Path(os.environ[OWN_GPU]) / name).touch()
        if is_on(self.fault):
            FAULTS[self.fault]()
        drawn = jax.random.uniform(key, (hidden_size,))
        if self.limit < 1:  # one seed of several may fail
            drawn = jax.pure_callback(self.limited, drawn, drawn, vmap_method="sequential")
        return {"a": self.rate + 0.1 * drawn}

    def limited(self, drawn):
        if drawn[0] > self.limit:
            raise RuntimeError("no more of this")
        return np.asarray(drawn)

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, len(params["a"])))

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(params["a"] * carry + x_t.sum(axis=-1, keepdims=True))
        return h_t, h_t


def fall():
    raise RuntimeError("a mistake of the user's own")


def leave():
    os._exit(3)


def sleep():
    for _ in range(10_000):
        time.sleep(0.1)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    raise KeyboardInterrupt


def quit_():
    sys.exit(5)


def fork():
    if os.fork() == 0:
        time.sleep(FORKED_SECONDS)
        os._exit(0)


FAULTS = {
    "raise": fall,
    "exit": leave,
    "hang": sleep,
    "kill": die,
    "interrupt": stop,
    "sys.exit": quit_,
    "fork": fork,
}
