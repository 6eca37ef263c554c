"""`gradlab new cell`: what it writes runs, and passes the test that it writes."""

import runpy
import sys

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    yield tmp_path
    sys.modules.pop("slow_unit", None)


def test_the_cell_is_measured_and_its_tests_pass(folder, typed):
    code, out, _ = typed("new", "cell", "slow_unit")
    assert code == 0 and out.splitlines() == [
        "written: slow_unit.py, test_slow_unit.py",
        "next: gradlab probe adding --cell ./slow_unit.py:SlowUnit --len 200; pytest test_slow_unit.py",
    ]
    tests = runpy.run_path("test_slow_unit.py")
    found = [test for name, test in tests.items() if name.startswith("test_")]
    assert len(found) == 3
    for test in found:
        test()
    code, _, err = typed("probe", "adding", "--cell", "./slow_unit.py:SlowUnit", "--len", 5, "--measure-batch", 2)
    assert code == 0, err


def test_the_tests_notice_another_cell(folder, typed):
    typed("new", "cell", "slow_unit")
    source = (folder / "slow_unit.py").read_text()
    (folder / "slow_unit.py").write_text(
        source.replace('params["a"] * carry["h"] +', '0.5 * params["a"] * carry["h"] +')
    )
    tests = runpy.run_path("test_slow_unit.py")
    for name in ("test_a_timestep_follows_the_equation", "test_the_memory_is_as_long_as_it_should_be"):
        with pytest.raises(AssertionError):
            tests[name]()


@pytest.mark.parametrize(
    "words, says",
    [
        (("cel", "slow"), "unknown kind of file `cel`: known are cell; did you mean `cell`?"),
        (("cell", "Slow"), "name is `Slow`: give small letters, digits and _"),
        (("cell", "../slow"), "give small letters"),
        (("cell", "class"), "give small letters"),
        (("cell", "jax"), "name is `jax`, which Python has a module of"),
    ],
)
def test_a_name_that_cannot_be_is_one_line(folder, typed, words, says):
    code, _, err = typed("new", *words)
    assert code == 2 and says in err and len(err.splitlines()) == 1 and not list(folder.iterdir())


def test_nothing_is_overwritten(folder, typed):
    (folder / "test_slow_unit.py").write_text("mine")
    code, _, err = typed("new", "cell", "slow_unit")
    assert code == 2 and "`test_slow_unit.py` exists" in err
    assert [path.name for path in folder.iterdir()] == ["test_slow_unit.py"]
