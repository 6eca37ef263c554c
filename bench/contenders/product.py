"""The rate of a large matrix product on all cores: what no training step can pass."""

import numpy as np
import torch

from bench.case import Case
from bench.contenders import PRODUCT_SIZE


def make(case: Case, problem: str) -> "Product":
    return Product()


class Product:
    def __init__(self) -> None:
        a, b = np.random.default_rng(0).random((2, PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
        self.factors = {"numpy": (a, b), "torch": (torch.from_numpy(a), torch.from_numpy(b))}

    def train(self, steps: int, library: str) -> None:
        """One "training step" is one product."""
        a, b = self.factors[library]
        for _ in range(steps):
            a @ b
