"""Hundreds of damaged runs beside a good one: each is at most one warning, and every reader shows the good one."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
from attempts import rewrite
from damages import WRONG, changed, places
from synthetic import falling, put

import gradlab
from gradlab.cli.app import main
from gradlab.cli.inspect import show
from gradlab.errors import GradlabError
from gradlab.report.data.records import read
from gradlab.runs.environment import environment

DEEP = "[" * 100_000 + "]" * 100_000
GOOD = "good"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run as the engine writes it, with every file."""
    root = tmp_path_factory.mktemp("whole")
    path = put(root, [falling(3.0)] * 3, total=[falling(2.0)] * 3, status="solved")
    np.savez(path / "every.npz", h=np.zeros((100, 40), np.float32), state=np.zeros((100, 40), np.float32))
    rewrite(path / "every.npz", (path / "every.npz").read_bytes())
    env = environment("float32") | {"git": {"commit": "0" * 40, "dirty": True}}
    env["execution"]["jax_settings"] = {"JAX_SOMETHING": "1"}
    rewrite(path / "env.json", json.dumps(env).encode())
    return path


@pytest.fixture
def typed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    def type_(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return type_


def objects(path):
    """Every field of a JSON file, or of the second line of the log, missing or wrong: a name and the new bytes."""
    lines = path.read_text().splitlines() if path.name == "log.jsonl" else [path.read_text()]
    before = [*lines[:1], "\n"] if path.name == "log.jsonl" else []
    value, count = json.loads(lines[-1]), 0
    for place in places(value):
        if place[:2] in (("summary", "initial"), ("summary", "worst")) and len(place) > 2:
            continue  # as those of the final one
        if (
            place[0] == "digests"
            or ("total" in place and place[-1] != "total")
            or ("h" in place and place[-1] != "h")
        ):
            continue
        count += 1
        for new in (..., *(WRONG[(3 * count + each) % len(WRONG)] for each in range(3))):
            text = json.dumps(changed(value, place, new))
            yield (
                f"{'.'.join(map(str, place))} {'missing' if new is ... else repr(new)[:9]}",
                "".join([*before, text]).encode(),
            )


def archive(arrays, save=np.savez):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def archives(path):
    """Every array of an npz file missing or wrong, and archives that are none."""
    with np.load(path) as stored:
        arrays = dict(stored)
    for name, array in arrays.items():
        rest = {key: each for key, each in arrays.items() if key != name}
        yield f"{name} missing", archive(rest)
        yield f"{name} renamed", archive(rest | {f"{name}x": array})
        others = {
            "flat": np.zeros(()),
            "long": np.concatenate([array, array]),
            "short": array[:-1],
            "none": array[:0],
            "wide": np.repeat(array, 2, -1),
            "deep": array[None],
            "text": array.astype(str),
            "complex": array.astype(complex),
        }
        for kind, new in others.items():
            yield f"{name} {kind}", archive(rest | {name: new})
    fewer = {name: array[:, :-1] if array.shape[-1] == 40 else array for name, array in arrays.items()}
    yield "fewer lags in all", archive(fewer)
    yield "compressed", archive(arrays, np.savez_compressed)
    yield "bomb", archive({"step": np.zeros(2**24)}, np.savez_compressed)
    yield "empty", b""
    yield "no array", archive({})
    yield "cut", path.read_bytes()[:-100]
    yield "overlapping", _overlapping()
    yield "header says gigabytes", path.read_bytes().replace(b"'shape': (3,)", b"'shape': (9999999999,)"[:13])


def _overlapping():
    """A thousand members that are the same bytes of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        with made.open("a.npy", "w") as member:
            np.save(member, np.zeros(100_000))
        made.filelist *= 1000
        made._didModify = True
    return file.getvalue()


def add(store, whole, name, damaged=()):
    """A run of the same files, but for those that are damaged, which it can write without touching the others."""
    run = store / "runs" / name
    run.mkdir(parents=True)
    for path in whole.iterdir():
        if path.name not in damaged:
            (shutil.copy if path.name == "done.json" else os.link)(path, run / path.name)
    return run


@pytest.fixture(scope="module")
def damaged(whole, tmp_path_factory):
    """A store with damaged runs and a good one; of each damaged run the file and what is wrong with it."""
    store, found = tmp_path_factory.mktemp("store"), {}
    for path in sorted(whole.iterdir()):
        for what, data in archives(path) if path.suffix == ".npz" else objects(path):
            run = add(store, whole, f"run-{len(found)}", [path.name])
            (run / path.name).write_bytes(data) if path.name == "done.json" else rewrite(run / path.name, data)
            found[run.name] = (path.name, what)
    add(store, whole, GOOD)
    return store, found


def warned(err):
    """The file that each warning names, by the id of the run."""
    pattern = (
        r"gradlab: warning: skipped .*/(\S+): (\S+?)(, line \d+,)? cannot be read \((.+)\); delete it or run again"
    )
    found = [re.fullmatch(pattern, line) for line in err.splitlines()]
    assert all(found), [line for line, match in zip(err.splitlines(), found, strict=True) if not match]
    assert len({match[1] for match in found}) == len(found), "a run has two warnings"
    return {match[1]: (match[2], match[4]) for match in found}


def agree(skipped, found):
    """Whether what is said of each skipped run names the file and the field that are damaged."""
    for run_id, (file, why) in skipped.items():
        name, what = found[run_id]
        field = what.split(" ")[0].split(".")[0]
        assert file == name or "curves.npz" in (file, name), (file, why, name, what)
        assert name.endswith(".npz") or field in why or "other curves" in why or "checkpoints" in why, (why, what)


def test_every_reader_survives_every_damage(damaged, typed):
    store, found = damaged
    assert len(found) > 500
    code, out, err = typed("ls", "--results", store)
    listed = warned(err)
    assert code == 0 and f"{GOOD} " in out
    assert {found[run_id][0] for run_id in listed} == {"config.json", "done.json"}
    agree(listed, found)

    code, out, err = typed("report", "--results", store, "--format", "csv")
    skipped = warned(err)
    assert code == 0 and listed.items() <= skipped.items() and len(skipped) > len(found) * 0.8
    agree(skipped, found)
    assert GOOD in (store / "report" / "summaries.csv").read_text()

    for run_id in found:
        try:
            show(run_id, store)
        except GradlabError as error:
            assert skipped[run_id][1] in str(error) and "\n" not in str(error)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = {*gradlab.load(store)["run"]}
    missing = {*found, GOOD} - loaded
    assert GOOD in loaded and missing <= skipped.keys() and len(caught) == len(missing)


@pytest.mark.slow
def test_what_is_not_refused_can_be_drawn(damaged, typed):
    store, found = damaged
    code, _, err = typed("report", "--results", store, "--format", "html,md")
    assert code == 0 and len(found) - len(warned(err)) > 50


# ---------------------------------------------------------------- what is no file of a run


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path)


def folder(path):
    path.mkdir()


def gigabytes(path):
    with open(path, "wb") as file:
        file.truncate(10**12)


def nested(path):
    path.write_text(DEEP)


def latin_1(path):
    path.write_bytes('{"store": 1, "task": "\u00e9"}'.encode("latin-1"))


@pytest.mark.parametrize("name", ["config.json", "done.json", "env.json", "log.jsonl", "curves.npz", "every.npz"])
@pytest.mark.parametrize("make", [fifo, device, loop, folder, gigabytes, nested, latin_1, None])
def test_what_is_no_file_of_a_run_is_refused_unread(tmp_path, whole, make, name):
    bad = add(tmp_path, whole, "bad", [name])
    add(tmp_path, whole, GOOD)
    if make is not None:
        make(bad / name)
    heard = []
    assert [record.run.id for record in read(tmp_path, heard.append)] == [GOOD]
    (warning,) = heard
    assert f"bad: {name} cannot be read (" in warning and warning.endswith("; delete it or run again")


def test_digests_are_verified(tmp_path, whole):
    """A curve of another run in place of its own, each file whole."""
    put(tmp_path / "other", [falling(9.0)] * 3, total=[falling(8.0)] * 3, status="solved")
    (other,) = (tmp_path / "other" / "runs").iterdir()
    for name in ("config.json", "env.json", "log.jsonl", "curves.npz"):
        shutil.copy(other / name, add(tmp_path, whole, name.replace(".", "-"), [name]) / name)
        if name in ("config.json", "env.json"):  # they are equal but for a space
            path = tmp_path / "runs" / name.replace(".", "-") / name
            path.write_bytes(path.read_bytes() + b" ")
    heard = []
    assert read(tmp_path, heard.append) == [] and len(heard) == 4
    assert all("it was changed: its digest is not that in done.json" in warning for warning in heard)


def test_names_that_no_run_has(tmp_path, whole, typed):
    for name in (b"\xff\xfe", b"a run", b".rf", b"$(id)", "\u00e9".encode()):
        shutil.copytree(os.fsencode(whole), os.fsencode(tmp_path / "runs") + b"/" + name)
    loop(tmp_path / "runs" / "loop")
    (tmp_path / "runs" / "nowhere").symlink_to("nothing")
    add(tmp_path, whole, GOOD)
    for words in (["ls"], ["report", "--format", "csv,html"]):
        code, _, err = typed(*words, "--results", tmp_path)
        assert code == 0 and err.count("\n") == err.count("warning: skipped") == 5
    frame = (tmp_path / "report" / "summaries.csv").read_text()
    assert GOOD in frame


AS_NOBODY = """
    import os, sys
    from gradlab.cli.app import main

    main(["show", "nothing", "--results", sys.argv[1] + "/nowhere"])
    "".encode("cp437")  # now everything is imported that nobody may not read
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    for words in (["ls"], ["show", "bad"], ["show", "good"]):
        print(words, main([*words, "--results", sys.argv[1]]), file=sys.stderr)
"""


def test_folders_that_may_not_be_read(tmp_path, whole):
    bad, good = add(tmp_path, whole, "bad", ["config.json"]), add(tmp_path, whole, GOOD)
    shutil.copy(whole / "config.json", bad)
    bad.chmod(0)
    for path in (tmp_path, *tmp_path.parents[:3], good, good.parent):
        path.chmod(path.stat().st_mode | 0o055)
    command = [sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"GRADLAB_CACHE": "off"})
    bad.chmod(0o755)
    lines = done.stderr.splitlines()[1:]
    assert "skipped" in lines[0] and "bad: config.json cannot be read (Permission denied)" in lines[0], done.stderr
    assert lines[1] == "['ls'] 0" and lines[3:] == ["['show', 'bad'] 2", "['show', 'good'] 0"]
    assert "bad: config.json cannot be read (Permission denied)" in lines[2] and GOOD in done.stdout


def test_a_results_folder_that_is_a_loop(tmp_path, typed):
    loop(tmp_path / "runs")
    code, _, err = typed("ls", "--results", tmp_path)
    assert code == 2 and err.count("\n") == 1 and "cannot be read: Too many levels of symbolic links" in err
