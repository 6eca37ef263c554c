"""A lesson: its numbers are those of the commands it prints, its products those of another route."""

import io
import json
import math
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
from lessons import HIDDEN, LENGTHS, quiet, small
from synthetic import falling, put

from gradlab.cli.app import main
from gradlab.errors import GradlabError
from gradlab.gradient.chain import chain
from gradlab.gradient.curve import GradientCurve
from gradlab.lesson import findings, wording
from gradlab.lesson.axes import SweepAxis, default_axis, parse_axis, with_options
from gradlab.lesson.figures import Curve, grid_ends, lines_figure
from gradlab.lesson.measure import _example, _underflow, measure_lesson
from gradlab.lesson.page import lesson_page
from gradlab.lesson.questions import questions
from gradlab.lesson.records import GridPoint, TrainingPass
from gradlab.lesson.theory import theory_line
from gradlab.report.data.records import read
from gradlab.report.page import render
from gradlab.report.page.render import put_page
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson():
    return small(axis=parse_axis("lstm", "forget_bias=-1,1,4"))


@pytest.fixture(scope="module")
def page(lesson):
    return lesson_page(lesson)


class Reader(HTMLParser):
    """Tags, ids and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)

    def text(self):
        return " ".join(" ".join(self.words).split())


# ---------------------------------------------------------------- numbers


def of_command(words, tmp_path):
    """What a printed command measures, by its own JSON."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main([*shlex.split(words)[1:], "--json", "-q", "--results", str(tmp_path / "results")]) == 0
    return json.loads(out.getvalue())["runs"]


def same(found, stored):
    return all(
        found[name] == stored[name] or (math.isnan(found[name]) and stored[name] == "nan")
        for name in ("span", "slope", "horizon", "float32_horizon", "verdict", "lags")
    )


def test_each_position_is_what_its_command_measures(lesson, tmp_path):
    for row in lesson.grid[::2]:
        (run,) = of_command(row[-1].command, tmp_path)
        assert same(row[-1].curve.summary().as_dict(), run["summary"]["initial"]["curves"]["task"]["state"])
        stored = Store(tmp_path / "results").find(run["id"]).arrays()
        for leaf in row[-1].curve.leaves:
            np.testing.assert_array_equal(stored[f"task/{leaf}/typical"][0], row[-1].curve.typical(leaf))


OWN = """
import jax.numpy as jnp
class Kind:
    def __init__(self, rate: float = 0.5): self.rate = rate
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def init(self, key, input_size, hidden_size): return {"w": jnp.ones((input_size, hidden_size))}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]))
    def step(self, params, carry, x_t):
        h = self.rate * carry + x_t @ params["w"]
        return 2 * (jnp.tanh(h),)
"""
TURNED = [
    ("rnn", "activation=tanh,relu,sigmoid"),
    ("rnn:activation=sigmoid:gain=2", "init=orthogonal,identity"),
    ("lstm", "forget_gate=true,false"),
    ("gru", "gain=1,1.5"),
    ("{own}:Kind", "rate=0.5,0.25"),
]


@pytest.mark.parametrize("cell, vary", TURNED)
def test_every_number_of_a_lesson_is_what_the_command_beside_it_gives(cell, vary, tmp_path, typed):
    own = tmp_path / "kind.py"
    own.write_text(OWN)
    words = ["--cell", cell.format(own=own), "--vary", vary, "--len", "6", "--hidden", HIDDEN]
    code, out, err = typed("lesson", "adding", *words, "-o", tmp_path / "page.html", "-q", "--json")
    assert code == 0, err
    positions = json.loads(out)["positions"]
    for one in positions:
        (run,) = of_command(one["command"], tmp_path)
        assert (run["spec"]["cell"], run["spec"]["length"]) == (one["cell"], one["length"])
        assert one["numbers"] == run["summary"]["initial"]["curves"]["task"]["state"]
        assert one["gates"] == {name: gate["mean"] for name, gate in run["checkpoints"][0]["gates"].items()}
    spans = {one["numbers"]["span"] for one in positions}
    assert len(spans) == len(positions) == vary.count(",") + 1, "nothing was varied"


@pytest.mark.parametrize(
    "step, words",
    [
        ("carry * 1j", "its state holds complex numbers (s), and this shows real matrices"),
        ("own(carry)", "a part of its step has a backward pass of its own (jax.custom_vjp)"),
    ],
)
def test_an_example_that_cannot_be_written_out_is_missed_in_a_plain_sentence(step, words, tmp_path):
    path = tmp_path / "odd.py"
    dtype = "jnp.result_type(complex)" if "1j" in step else "jnp.result_type(float)"
    path.write_text(f"""
import jax, jax.numpy as jnp
own = jax.custom_vjp(lambda x: 0.5 * x)
own.defvjp(lambda x: (0.5 * x, None), lambda _, g: (0.5 * g,))
class Odd:
    def init(self, key, input_size, hidden_size): return {{"w": jnp.ones((input_size, hidden_size))}}
    def carry(self, params, batch_size): return jnp.zeros((batch_size, params["w"].shape[1]), {dtype})
    def step(self, params, carry, x_t):
        h = {step} + x_t @ params["w"]
        return h, h.real
""")
    base = RunSpec(cell=f"{path}:Odd", hidden=HIDDEN, steps=0)
    found = measure_lesson(base, default_axis(base.cell), (4,), 1, quiet)
    assert found.example is None and words in found.missing["example"]
    assert "\n" not in found.missing["example"]


@pytest.mark.parametrize("task", ["adding:markers=1997", "selective_copy:symbols=2:alphabet=2"])
def test_a_chain_begins_where_the_loss_does(task):
    """Of a task whose loss is not at the last timestep the chain and the probe count the same lags."""
    base = RunSpec(task=task, cell="rnn", length=20, steps=0)
    found = _example(base)
    np.testing.assert_allclose(np.log10(found.norms), found.curve.summarised(), atol=1e-9)
    assert len(found.norms) < len(found.chain.norms)
    with pytest.raises(GradlabError, match="reads other outputs than the last"):
        _underflow(base, (), 1)


def test_the_command_of_the_grid_measures_every_position(lesson, tmp_path):
    runs = {
        (run["spec"]["cell"], run["spec"]["length"]): run for run in of_command(lesson.commands["grid"], tmp_path)
    }
    assert len(runs) == len(lesson.axis.values) * len(LENGTHS)
    for position in (one for row in lesson.grid for one in row):
        run = runs[position.cell, position.length]
        assert same(position.curve.summary().as_dict(), run["summary"]["initial"]["curves"]["task"]["state"])


def test_the_other_commands_measure_what_stands_beside_them(lesson, tmp_path):
    (run,) = of_command(lesson.example.command, tmp_path)
    assert same(lesson.example.curve.summary().as_dict(), run["summary"]["initial"]["curves"]["task"]["state"])
    (run,) = of_command(lesson.summed.command, tmp_path)
    for name, curve in (("total", lesson.summed.total), ("task", lesson.summed.last)):
        assert same(curve.summary().as_dict(), run["summary"]["initial"]["curves"][name]["state"])
    spans = [
        run["summary"]["initial"]["curves"]["task"]["state"]["span"]
        for run in of_command(lesson.commands["ungated"], tmp_path)
    ]
    assert spans == [lesson.chosen[0].curve.span(), lesson.ungated.curve.span()]


def test_what_float32_reads_as_zero_is_what_its_command_stores(tmp_path):
    """A gain of 1e-9 takes nine decades at each timestep: the fifth is below what float32 holds."""
    found = small("rnn", lengths=(LENGTHS[1],), axis=parse_axis("rnn", "gain=1e-9,1"))
    (run,) = of_command(found.underflow.command, tmp_path)
    stored = Store(tmp_path / "results").find(run["id"]).arrays("every.npz")
    np.testing.assert_allclose(stored["h"][0], found.underflow.rms["h"], atol=1e-4)
    zero = np.isneginf(found.underflow.rms["h"])
    assert zero[5:].all() and not zero[:4].any()  # 10^-36 at lag 5, of which a batch of 32 takes one and a half
    slope = np.diff(found.underflow.point.curve.rms("h"))
    np.testing.assert_allclose(slope, -9, atol=0.5)
    assert "reads exactly 0 from lag" in lesson_page(found)


def test_the_lines_of_python_print_the_direct_gradient(lesson):
    out = io.StringIO()
    with redirect_stdout(out):
        exec(lesson.summed.snippet, {})
    printed = np.array([float(number) for number in re.findall(r"-?\d+\.\d*", out.getvalue())])
    np.testing.assert_allclose(printed, lesson.summed.direct.typical(), atol=6e-4)


@pytest.mark.parametrize("cell", ["rnn:activation=relu:gain=1.2", "gru", "lstm:forget_gate=false"])
def test_the_chain_of_jacobians_is_the_gradient_of_jax(cell, float64):
    spec = RunSpec(cell=cell, length=5, hidden=3, steps=0, dtype="float64")
    model = spec.model()
    params = model.init(1)
    batch = model.task.sample(jax.random.key(2), 1, 5)

    def loss(outputs):
        return model.read(params, outputs, batch)

    found = chain(model.cell, params["cell"], batch.inputs, loss)
    start = model.cell.carry(params["cell"], 1)

    def later(state, t):
        for x_t in batch.inputs[t:]:
            state, y_t = model.cell.step(params["cell"], state, x_t)
        return loss(y_t[None])[0]

    for t in range(5):
        gradient = jax.tree.leaves(jax.grad(later)(start, t))
        np.testing.assert_allclose(
            np.concatenate([leaf.ravel() for leaf in gradient]), found.adjoint[t], rtol=1e-12
        )
        start = model.cell.step(params["cell"], start, batch.inputs[t])[0]
    ratio = found.norms[:-1] / found.norms[1:]
    assert np.all(ratio <= found.stretch[:-1] * (1 + 1e-12))


def test_the_product_is_what_the_instrument_reads(lesson):
    example = lesson.example
    np.testing.assert_allclose(np.log10(example.chain.norms[::-1]), example.curve.typical(), atol=1e-12)
    np.testing.assert_allclose(np.prod(example.factors), 10 ** example.curve.span(), rtol=1e-12)


def test_factors_of_timesteps_multiply_to_the_span(lesson):
    for row in lesson.grid:
        np.testing.assert_allclose(np.log10(np.prod(row[-1].factors)), row[-1].curve.span(), rtol=1e-9)


@pytest.mark.parametrize("cell", ["gru", "gru:init=chrono:t_max=9", "lstm:forget_bias=2"])
def test_theory_of_the_gate_alone_is_the_cell_without_recurrent_weights_and_input(cell, float64):
    """One Jacobian after the other, of a cell whose only weights are the biases that its gates start with."""
    hidden, timesteps, own = 200, 12, RunSpec(cell=cell).build_cell()
    leaf = "c" if cell.startswith("lstm") else "h"
    params = {name: 0 * value for name, value in own.init(jax.random.key(0), 2, hidden).items()}
    bias = np.array(params["b"])
    spread = np.log(1 + (np.arange(hidden) + 0.5) / hidden * 7)  # chrono: u from 1 to t_max - 1 = 8
    bias[hidden : 2 * hidden] = {"gru": 0.0, "lstm:forget_bias=2": 2.0}.get(cell, spread)
    params["b"] = bias
    s_t = own.carry(params, 1) | {leaf: np.full((1, hidden), 0.01)}
    product, decades = np.ones(hidden), [0.0]
    slope = jax.jit(
        jax.grad(lambda value, s: own.step(params, s | {leaf: value}, np.zeros((1, 2)))[0][leaf].sum())
    )
    for _ in range(timesteps - 1):
        product = product * np.asarray(slope(s_t[leaf], s_t))[0]
        decades.append(np.log10(np.sqrt(np.mean(product**2))))
    theory = theory_line(RunSpec(cell=cell).cell, timesteps)
    np.testing.assert_allclose(theory.decades, decades, atol=1e-3)


def test_the_upper_bound_of_an_rnn_bounds():
    bound = theory_line("rnn:gain=0.7", LENGTHS[1])
    curve = (
        run(RunSpec(cell="rnn:gain=0.7", length=LENGTHS[1], hidden=HIDDEN, steps=0)).curve().log10_norm["state"]
    )
    assert np.all(curve - curve[0] <= bound.decades[:, None] + 1e-6)


# ---------------------------------------------------------------- the axis


def test_hyperparameter_axes():
    axis = default_axis("lstm")
    assert (axis.option, axis.cells[axis.chosen]) == ("forget_bias", "lstm")
    assert default_axis("rnn:activation=relu").cells[0] == "rnn:activation=relu:gain=0.5"
    assert default_axis("gru").values[0] == "none"
    assert default_axis("lstm:init=chrono:t_max=30").values == (
        "none",
        "5",
        "10",
        "20",
        "30",
        "50",
        "100",
        "200",
        "400",
    )
    assert default_axis("gru:init=gaussian").option == "gain"
    with pytest.raises(GradlabError, match="write an option of the cell and its values"):
        parse_axis("lstm", "forget_bias")
    with pytest.raises(GradlabError, match="forget_bais"):
        parse_axis("lstm", "forget_bais=1,2")
    assert parse_axis("lstm", "gain=2,3").values == ("none", "2", "3")
    assert with_options("./a.py:Cell:k=1", {"k": "2"}) == "./a.py:Cell:k=2"
    assert with_options("stacked:lstm:layers=3", {"layers": "2"}) == "stacked:lstm:layers=2"
    nested = with_options("stacked:layers=3:residual:gru:gain=2", {"gain": "1.5"})
    assert nested == "stacked:layers=3:residual:gru:gain=1.5"


@pytest.mark.parametrize("cell", ["janet", "lru:r_min=0.5", "stacked:lstm:layers=3"])
def test_other_cells_have_no_axis_and_no_theory_of_their_own(cell):
    axis = default_axis(cell)
    assert (axis.option, axis.cells) == ("", (cell,)) and theory_line(cell, 5) is None


# ---------------------------------------------------------------- questions


def position(value, length, decades, cell="lstm"):
    curve = falling(-decades, lags=length, examples=4)
    return GridPoint(value, length, cell, f"gradlab probe adding --cell {cell} --len {length}", curve, {})


def with_spans(lesson, table):
    """The lesson with straight curves of these spans, [value][length]."""
    lengths = (100, 200)
    values = tuple(str(index) for index in range(len(table)))
    cells = tuple(f"lstm:forget_bias={value}" for value in values)
    rows = tuple(
        tuple(position(value, length, span, cell) for length, span in zip(lengths, spans, strict=True))
        for value, cell, spans in zip(values, cells, table, strict=True)
    )
    return replace(lesson, axis=SweepAxis("forget_bias", values, cells, 1), lengths=lengths, grid=rows)


def test_answers_are_looked_up_and_turn_with_the_data(lesson):
    first = with_spans(lesson, [[-40, -80], [-1.6, -3.3], [-0.5, -1.0], [2.0, 4.1]])
    asked = {one.text.split("?")[0]: one for one in questions(first)}
    found = {name: one.accepted for name, one in asked.items()}
    assert [found[name] for name in found if "first at which the gradient holds" in name] == [((2, 1),)]
    assert [found[name] for name in found if "no longer hold" in name] == [((1, 1),)]
    assert [found[name] for name in found if "explodes" in name] == [((3, 1),)]
    assert [found[name] for name in found if "most gradient" in name] == [((3, 1),)]
    assert [found[name] for name in found if "range of plain float32" in name] == []
    turned = with_spans(lesson, [[-1.0, -2.0], [-1.5, -2.9], [-2.5, -5.0], [-30.0, -60.0]])
    found = {one.text: one.accepted for one in questions(turned)}
    assert [found[text] for text in found if "first at which the gradient holds" in text] == [((0, 1),)]
    assert [found[text] for text in found if "no longer hold" in text] == [((2, 1),)]
    assert [found[text] for text in found if "explodes" in text] == []
    assert [found[text] for text in found if "range of plain float32" in text] == [((3, 1),)]


def test_every_accepted_position_satisfies_its_question(lesson):
    for one in questions(lesson):
        assert one.accepted
        for row, at in one.accepted:
            place = lesson.place(lesson.grid[row][at])
            assert place.capitalize() in one.answer.capitalize() or len(one.accepted) > 1


# ---------------------------------------------------------------- the page


def test_the_page_is_the_same_bytes_from_the_same_numbers(lesson, page):
    assert lesson_page(lesson) == page


def drawn(page, name, prefix):
    """The points of a line of an SVG as shares of its axes, from the lower left corner."""
    svg = re.search(rf'<svg [^>]*>(?:(?!</svg>).)*id="{name}-a0-s(?:(?!</svg>).)*</svg>', page, re.S)[0]
    box = re.search(r"<clipPath[^>]*><rect ([^>]*)/>", svg)[1]
    x, y, width, height = (
        float(re.search(rf'\b{key}="([^"]*)"', box)[1]) for key in ("x", "y", "width", "height")
    )
    path = re.search(rf'id="{name}-{prefix}"[^>]*>\s*<path [^>]*?\bd="([^"]*)"', svg)
    points = np.array([[float(number) for number in re.findall(r"-?[\d.]+", path[1])]]).reshape(-1, 2)
    return (points[:, 0] - x) / width, (y + height - points[:, 1]) / height


def test_every_position_stands_on_the_page(lesson, page):
    low, high = grid_ends(lesson)
    for index, one in enumerate(lesson.points):
        x, y = drawn(page, "figure-sliders", f"a0-s{index}-line0")
        lags, values = x * max(LENGTHS), low + y * (high - low)
        expected = one.curve.typical() - one.curve.typical()[0]
        np.testing.assert_allclose(lags[[0, -1]], [1, one.length], atol=0.02)
        np.testing.assert_allclose(values, np.interp(lags, one.curve.lags, expected), atol=0.006 * (high - low))
    text = Reader(page).text()
    for one in lesson.points:
        assert wording.sentence(lesson, one) in text and one.command in text
        assert all(value in text for _, value in wording.numbers(one))


def test_only_the_cell_that_was_asked_for_is_shown_without_the_script(lesson, page):
    tags = [attributes for _, attributes in Reader(page).tags if "data-options" in attributes]
    shown = {attributes["data-options"] for attributes in tags if attributes.get("class") != "unchosen"}
    assert shown == {json.dumps(lesson.options(lesson.chosen[-1]))}
    assert {attributes["data-options"] for attributes in tags} == {
        json.dumps(lesson.options(one)) for one in lesson.points
    }


@pytest.mark.parametrize("family, activation, forget_gate, count", [
    ("rnn", "tanh", False, 3), ("rnn", "relu", False, 3), ("rnn", "sigmoid", False, 3),
    ("rnn", "linear", False, 3),
    ("lstm", "", True, 7), ("lstm", "", False, 7), ("gru", "", False, 5), ("", "", False, 0),
])  # fmt: skip
def test_every_equation_can_be_typeset(family, activation, forget_gate, count):
    macros = render._html("gradlab.lesson").get_template("equations.html.j2").module
    written = [getattr(macros, name)(family, activation, forget_gate) for name in ("forward", "jacobian", "flow")]
    text = Reader("".join(written)).text()
    assert not re.search(r"[{}_\\^]", text) and "".join(written).count("<math") == count
    assert bool(written[2].strip()) == bool(family)


def test_ids_are_unique_and_links_lead_somewhere(page):
    tags = Reader(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"][1:] for name, attributes in tags if name == "a"}
    wanted |= {attributes["data-copy"] for _, attributes in tags if "data-copy" in attributes}
    wanted |= {attributes["for"] for _, attributes in tags if "for" in attributes}
    assert wanted <= set(ids)


def test_the_policy_allows_nothing_foreign(page):
    tags = Reader(page).tags
    policy = next(a["content"] for name, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on") or key == "style"]
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)


def test_nothing_that_a_person_names_becomes_markup(lesson):
    evil = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"
    rows = tuple(
        tuple(one._replace(value=evil, cell=evil, command=evil, gates={evil: 0.5}) for one in row)
        for row in lesson.grid
    )
    commands = dict.fromkeys(lesson.commands, evil)
    axis = SweepAxis(evil, (evil,) * 3, (evil,) * 3, 1)
    bad = replace(
        lesson,
        task=evil,
        cell=evil,
        axis=axis,
        grid=rows,
        commands=commands,
        missing={"summed": evil},
        summed=None,
    )
    page = lesson_page(bad)
    assert page.count("<script") == 2 and "<img" not in page
    assert Reader(page).text().count("onerror=alert(1)") > 10


def test_what_is_not_finite_leaves_a_gap_and_is_said(lesson):
    log = np.array([[0.0, 0.0], [-1.0, -1.0], [-np.inf, -np.inf], [-np.inf, -np.inf]])
    dead = GradientCurve.of({"h": log})
    rows = tuple(tuple(one._replace(curve=dead, length=4) for one in row) for row in lesson.grid)
    zero = replace(lesson, grid=rows, ungated=None)
    page = lesson_page(zero)
    lags, values = drawn(page, "figure-sliders", "a0-s0-line0")
    low, high = grid_ends(zero)
    np.testing.assert_allclose(lags * 4, [1, 2], atol=0.02)
    np.testing.assert_allclose(low + values * (high - low), [0.0, -1.0], atol=0.01)
    assert "zero from lag 3" in page
    nan = GradientCurve.of({"h": np.full((4, 2), np.nan)})
    rows = tuple(tuple(one._replace(curve=nan, length=4) for one in row) for row in lesson.grid)
    assert "not finite" in lesson_page(replace(lesson, grid=rows, ungated=None))


@pytest.mark.parametrize(
    "log10_norm, ends",
    [
        (-0.05 * np.arange(50.0), "it holds that far, falling by half every 6.02 timesteps."),
        (-0.001 * np.arange(50.0), "it holds."),
        (0.02 * np.arange(50.0), "it holds."),
        (np.where(np.arange(50.0) < 5, 0.0, -2.0), "it holds."),
        (-0.1 * np.arange(50.0), "it vanishes."),
    ],
)
def test_what_holds_at_one_length_and_falls_exponentially_is_said_to_fall(log10_norm, ends, lesson):
    point = lesson.grid[0][0]._replace(curve=GradientCurve.of({"h": log10_norm[:, None]}), length=50)
    assert wording.sentence(lesson, point).endswith(ends)


def test_training_is_shown_from_a_run_and_else_how_to_make_one(lesson, page, tmp_path):
    assert lesson.commands["then"] in Reader(page).text()
    put(tmp_path, [falling(1.0), falling(9.0), falling(0.5)], status="solved")
    (record,) = read(tmp_path, print)
    text = Reader(lesson_page(lesson, record)).text()
    assert "9.0 decades lost" in text or "9.0 at worst" in text
    assert record.run.id in text and lesson.commands["then"] not in text


def test_the_run_that_a_lesson_tells_to_make_has_the_id_that_it_then_names(lesson):
    words = shlex.split(lesson.commands["train"])
    length = int(words[words.index("--len") + 1])
    spec = RunSpec(cell="lstm", length=length, hidden=HIDDEN)
    assert lesson.commands["then"].endswith(f"--cell lstm --len 4,8 --vary forget_bias=-1,1,4 --run {spec.id}")


# ---------------------------------------------------------------- the command


def test_the_command_writes_a_page_and_its_numbers(tmp_path, capsys):
    target = tmp_path / "a" / "lesson.html"
    words = ["lesson", "adding", "--cell", "lstm", "--vary", "forget_bias=-1,1", "--len", "8,4", "--hidden", "4"]
    assert main([*words, "-o", str(target), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["value"], one["length"]) for one in told["positions"]] == [
        ("-1", 4), ("-1", 8), ("1", 4), ("1", 8)
    ]  # fmt: skip
    text = target.read_text()
    assert "gradlab lesson adding --cell lstm --len 8,4 --vary forget_bias=-1,1 --hidden 4" in text


@pytest.mark.parametrize("words, said", [
    (["--cell", "lstn"], "did you mean `lstm`"),
    (["--len", "0"], "whole number"),
    (["--vary", "gian=1,2"], "did you mean `gain`"),
    (["--run", "nothing"], "nothing"),
])  # fmt: skip
def test_a_mistake_is_one_line(words, said, tmp_path, capsys):
    assert main(["lesson", "adding", *words, "-o", str(tmp_path / "x.html"), "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error and not (tmp_path / "x.html").exists()


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GradlabError, match="cannot be written"):
        put_page(tmp_path / "file" / "page.html", "")


# ---------------------------------------------------------------- findings


def test_noise_is_a_line_of_its_own(lesson):
    lags, values = np.arange(1, 13), -5.0 * np.arange(12)
    drawing = lines_figure("x", "Heading", "Caption", [Curve("a", lags, values, lags >= 8)])
    first, second, *_ = (np.asarray(line.get_ydata()) for line in drawing.figure.axes[0].lines)
    np.testing.assert_array_equal(np.isfinite(first), lags < 8)
    np.testing.assert_array_equal(np.isfinite(second), lags >= 7)


@pytest.mark.parametrize(
    "full, gate, words",
    [
        (-1.0, -6.0, "the paths through the recurrent weights add 5.0 decades"),
        (-6.0, -1.0, "the recurrent weights reduce"),
        (-6.0, -5.8, "the direct path carries nearly all"),
    ],
)
def test_what_the_direct_path_carries_turns_with_the_data(full, gate, words):
    measured, ungated = position("1", 40, full), position("0", 40, gate, "lstm:gain=0")
    assert words in findings.recurrent_paths(measured, ungated)
    zero = measured._replace(curve=GradientCurve.of({"h": [[0.0], [-np.inf]]}))
    assert "there is nothing to compare" in findings.recurrent_paths(zero, ungated)


@pytest.mark.parametrize("gap, words", [(3.0, "1,000 times"), (0.1, "nearly alike"), (np.inf, "exactly zero")])
def test_what_the_sum_hides_turns_with_the_data(lesson, gap, words):
    total = GradientCurve.of({"h": np.zeros((4, 2))})
    last = GradientCurve.of({"h": np.array([[0.0, 0.0]] * 3 + [[-gap, -gap]])})
    assert words in findings.sum_hides(lesson.summed._replace(total=total, last=last))


def test_what_compounds_and_what_agrees_turns_with_the_data():
    assert "0.1 to the power of 39 is 10⁻³⁹" in findings.compounding(position("1", 40, -39.0))
    single = position("1", 4, 0.0)._replace(curve=GradientCurve.of({"h": [[0.0, 0.0]]}), length=1)
    assert "nothing to compound" in findings.compounding(single)
    short, same, other = position("1", 11, -1.0), position("1", 21, -2.0), position("1", 21, -6.0)
    assert "at most 0.00 decades apart" in findings.lengths_agree((short, same))
    assert "at most 2.00 decades apart" in findings.lengths_agree((short, other))
    assert "nothing to compare" in findings.lengths_agree((short,))


def test_underflow_is_said_where_it_is(lesson):
    point = position("1", 4, -3.0)
    some, none = (
        TrainingPass(point, {"h": np.array(rms)}, 1, "") for rms in ([0, -1, -np.inf, -np.inf], [0, -1, -2, -3])
    )
    assert "reads exactly 0 from lag 3 on, at 2 of 4 lags" in findings.underflow(some, "T = 4")
    assert "the training pass reads 10⁻³·⁰ at the last lag" in findings.underflow(none, "T = 4")


def test_texts_of_users_are_shown_as_they_are(lesson):
    evil = "$\\frac_{$ **b** <script>alert(1)</script> \x1b[31m \u202e \udcff"
    missing = {"example": f"/home/ada/own.py: {evil}", "summed": evil, "underflow": evil}
    changes = {"task": evil, "cell": evil, "example": None, "summed": None, "underflow": None, "missing": missing}
    commands = dict.fromkeys(lesson.commands, f"gradlab {evil}\n--results /home/ada/x")
    axis = lesson.axis._replace(option=evil)
    text = lesson_page(replace(lesson, **changes, family="", commands=commands, axis=axis))
    shown = "$\\frac_{$ **b** <script>alert(1)</script> \\x1b[31m \\u202e \\udcff"
    assert " ".join(Reader(text).text().split()).count(shown) > 5
    assert "alert(1)</script>" not in text and "/home" not in text and "\x1b" not in text
