"""The pytest plugin: a fixture and an option; inert until a test uses the fixture."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

FOLDER = "gradient_baselines"


def pytest_configure() -> None:
    """Quieten XLA before a test imports jax, or its remarks on cached programs would bury a failure."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--gradlab-bless`."""
    group = parser.getgroup("gradlab", "gradient curves")
    help_ = "accept the gradient curves that tests measure as new baselines"
    group.addoption("--gradlab-bless", action="store_true", help=help_)


@pytest.fixture
def gradient_curve(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`gradient_curve(cell, length=100)` is `assert_curve` with a baseline named after the test.

    The baseline is `gradient_baselines/<file>-<test>.json` beside the file of the test, with `-2` and so on for
    further calls; `baseline=` names another. `--gradlab-bless` writes it.
    """
    calls = 0

    def check(cell: Any, **options: Any) -> None:
        __tracebackhide__ = True
        from gradlab.testing import assert_curve

        nonlocal calls
        calls += 1
        label = re.sub(r"[^A-Za-z0-9._=-]+", "-", f"{request.path.stem}-{request.node.name}").strip("-")
        name = label if calls == 1 else f"{label}-{calls}"
        options.setdefault("baseline", request.path.parent / FOLDER / f"{name}.json")
        options.setdefault("bless", request.config.getoption("--gradlab-bless"))
        assert_curve(cell, **options)

    return check
