import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-torch` has an environment with it")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
