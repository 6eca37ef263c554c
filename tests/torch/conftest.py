import pytest


@pytest.fixture(autouse=True)
def seeded():
    import torch

    torch.manual_seed(0)
