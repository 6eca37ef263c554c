import sys
from pathlib import Path

import jax
import pytest

from gradlab.cli.app import main
from gradlab.runs.cache import use_cache

# Tests are imported by path, so the folder of what they share has to be named for `import oracles`.
sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def typed(capsys):
    """Types a command: exit code, stdout, stderr."""

    def type_(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return type_


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Programs that a module has compiled are found again, though a fault or a command of its own asks anew."""
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        use_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
