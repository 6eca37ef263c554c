"""The doctor: its reproducers on this machine, and on machines made wrong on purpose."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.cli.app import main
from gradlab.gradient import GradientCurve
from gradlab.runs import selftest
from gradlab.runs.selftest import SelfTest

pytestmark = pytest.mark.slow


def test_this_machine_sums_and_measures_rightly():
    for finding in (selftest.wrong_sums(), selftest.floor_free_curve()):
        assert not finding.reproduced and not finding.harmful, finding.seen


def test_a_plain_norm_reads_zero_here_and_is_no_harm():
    finding = selftest.norms_that_read_zero()
    assert finding.reproduced and not finding.harmful
    assert finding.seen == "a norm of 3.4e-19 reads 0"
    assert float(jnp.linalg.norm(jnp.full(128, 3e-20, jnp.float32))) == 0.0


def test_a_norm_that_is_mended_is_seen(monkeypatch):
    monkeypatch.setattr(jnp.linalg, "norm", lambda x: jnp.max(x) * jnp.sqrt(jnp.sum((x / jnp.max(x)) ** 2)))
    assert not selftest.norms_that_read_zero().reproduced


@pytest.mark.parametrize("first_wrong", [32_768, 1])
def test_a_wrong_sum_is_seen(monkeypatch, first_wrong):
    def wrong(rows):
        return jnp.where(jnp.abs(rows) >= first_wrong, 0.0, rows * rows)

    monkeypatch.setattr(selftest.jnp, "square", wrong)
    finding = selftest.wrong_sums()
    assert finding.reproduced and finding.harmful and "jaxlib" in finding.advice


def rounded(array, bits):
    """Each entry to so many bits, as the matrix unit of a GPU takes it."""
    mantissa, exponent = jnp.frexp(array)
    return jnp.ldexp(jnp.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


@pytest.mark.parametrize("always, harmful", [(False, False), (True, True)])
def test_a_product_of_rounded_factors_is_seen(monkeypatch, always, harmful):
    whole = jnp.matmul

    def product(left, right):
        asked = jax.config.jax_default_matmul_precision == "highest" and not always
        return whole(left, right) if asked else whole(rounded(left, 11), rounded(right, 11))

    here = selftest.rounded_products()
    assert not here.reproduced and not here.harmful, here.seen
    monkeypatch.setattr(selftest.jnp, "matmul", product)
    finding = selftest.rounded_products()
    assert finding.reproduced and finding.harmful is harmful, finding.seen
    assert "JAX_DEFAULT_MATMUL_PRECISION" in finding.advice


@pytest.mark.parametrize("span, harmful", [(-1504.84, False), (-1504.0, True), (-np.inf, True), (np.nan, True)])
def test_a_wrong_curve_is_seen(monkeypatch, span, harmful):
    # 4,999 halvings are 4999 log10(2) = 1504.85 decades.
    exact = -4999 * np.log10(2) if not harmful else span
    monkeypatch.setattr(selftest, "gradient_curve", lambda *_: GradientCurve.of({"h": [[0.0], [exact]]}))
    finding = selftest.floor_free_curve()
    assert (finding.reproduced, finding.harmful) == (harmful, harmful)


@pytest.mark.parametrize("power, harmful", [(0.5, False), (1, False), (1.5, False), (2, True), (3, True)])
def test_quadratic_time_is_seen(monkeypatch, power, harmful):
    clock = [0.0]

    def wait(xs):
        clock[0] += len(xs) ** power
        return xs

    monkeypatch.setattr(jax, "block_until_ready", wait)
    monkeypatch.setattr(selftest.time, "perf_counter", lambda: clock[0])
    finding = selftest.quadratic_scan_output()
    assert (finding.reproduced, finding.harmful) == (harmful, harmful)
    assert f"{8**power:.0f} times as long" in finding.seen


def test_every_reproducer_is_run(monkeypatch):
    checks = {
        name
        for name, check in vars(selftest).items()
        if inspect.isfunction(check) and inspect.signature(check).return_annotation is SelfTest
    }
    known = {"wrong_sums", "rounded_products", "norms_that_read_zero", "floor_free_curve", "quadratic_scan_output"}
    assert checks == known
    for name in checks:
        monkeypatch.setattr(selftest, name, lambda name=name: name)
    assert set(selftest.check_all()) == checks and len(selftest.check_all()) == len(checks)


FINE = SelfTest("a sum", "an error of 0", False, False, "nothing")
KNOWN = SelfTest("a norm", "reads 0", True, False, "gradlab is not affected")
FAULT = SelfTest("a curve", "is wrong", True, True, "install another one")


@pytest.mark.parametrize("found, code", [([FINE, KNOWN], 0), ([FINE, FAULT, KNOWN], 1), ([FAULT], 1)])
def test_doctor_says_what_it_found(monkeypatch, capsys, found, code):
    monkeypatch.setattr(selftest, "check_all", lambda: found)
    assert main(["doctor"]) == code
    out, err = capsys.readouterr()
    assert err == "" and "jaxlib" in out and "cpu" in out
    lines = {line.split(" ", 1)[0]: line for line in out.splitlines() if line}
    for finding, mark in ((FINE, "ok"), (KNOWN, "known"), (FAULT, "FAULT")):
        assert (f"{finding.name}: {finding.seen}" in lines.get(mark, "")) == (finding in found)
        assert (finding.advice in out) == (finding in found and finding.reproduced)
    assert ("this machine is not fit to measure on" in out) == bool(code)
    assert ("next: gradlab run" in out) == (not code)

    assert main(["doctor", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"versions", "execution", "checks", "ok"} and document["ok"] is (code == 0)
    assert document["checks"] == [finding._asdict() for finding in found]
    assert document["versions"]["jax"] == jax.__version__
