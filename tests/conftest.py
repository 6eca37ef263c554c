import sys
from pathlib import Path

import jax
import pytest

# Tests are imported by path, so their own folder has to be named for `import oracles`.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
