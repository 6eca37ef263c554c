"""The page of the report as text: what it says, that it is whole and safe, and how large it gets."""

import base64
import colorsys
import hashlib
import itertools
import json
import math
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy import stats
from studies import EVIL, sweep_of, trained
from synthetic import falling, put
from wording import answered, wording

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.judge.statistics import rank_correlation
from gradlab.report.data.records import labelled, read, summarised
from gradlab.report.figures import gallery, leaves
from gradlab.report.figures.curves import lag_figure
from gradlab.report.figures.drawing import COLOURS, line_style
from gradlab.report.figures.embed import embedded
from gradlab.report.page import render
from gradlab.report.page.compare import side, write_comparison
from gradlab.report.page.write import FORMATS, write_page, write_report
from gradlab.report.text import prediction
from gradlab.report.text.answers import learned as learned_by
from gradlab.report.text.plain import Sentence
from gradlab.runs.store import Store

matplotlib.use("Agg")


class Page(HTMLParser):
    """Tags, attributes, ids and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.words, self.inside = [], [], [], []
        self.raw = {"style": [], "script": []}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "link", "input", "br", "hr", "img"):
            self.inside.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        within = self.inside[-1] if self.inside else ""
        (self.raw[within] if within in self.raw else self.words).append(data)

    def text(self):
        return " ".join(" ".join(self.words).split())

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(root, **more):
    return write_page(root, print, root / "page.html", **more).read_text()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A store with two cells at three lengths, probes, two leaves and a run that diverged; and its page."""
    root = tmp_path_factory.mktemp("small")
    trained(root, lambda cell, length, seed: cell == "gru" or length == 20, cells=("lstm", "gru"), seeds=1)
    both = GradientCurve.of({"h": falling(3.0).log10_norm["h"], "c": falling(1.0).log10_norm["h"] + 1})
    put(root, [both] * 3, task="copy", total=[falling(0.5)] * 3, status="solved")
    put(root, [falling(2.0)] * 2, cell="rnn", status="diverged")
    put(root, [falling(2.0)], cell="rnn", steps=0, status="measured")
    return root, page_of(root)


def test_what_is_put_into_a_page_is_escaped():
    assert render.blocks("**a<b** `<c>`") == "<p><strong>a&lt;b</strong> <code>&lt;c&gt;</code></p>\n"
    assert "<img" not in render.blocks("- <img src=x>\n- [x](javascript:y) <b>")
    environments = {"warning": Sentence("", EVIL), "lines": [EVIL]}
    page = render._html(render.PACKAGE).from_string(
        '{% import "macros.html.j2" as parts %}<p title="{{ x }}">{{ x }}</p>{{ parts.environments(y) }}'
    )
    found = Page(page.render(x=f'"{EVIL}', y=environments))
    assert found.named("img") == found.named("script") == [] and found.named("p")[0] == {"title": f'"{EVIL}'}
    assert found.text().count(EVIL) == 3
    base = render._html(render.PACKAGE).get_template("base.html.j2")
    text = base.render(
        page={"policy": "", "style": "", "script": "", "data": {"x": {"a": "</script><!--"}}}, version="1"
    )
    assert "</script><!--" not in text
    block = re.search(r'<script type="application/json" id="x">(.*?)</script>', text)[1]
    assert json.loads(block) == {"a": "</script><!--"}


def test_page_asks_nothing_of_a_network_and_has_no_handler(small):
    page = Page(small[1])
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "form", "base"), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("href", "src", "xlink:href", "action", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "url(" not in "".join(page.raw["style"]) and "@import" not in "".join(page.raw["style"])
    assert not re.search(r"\b(fetch|XMLHttpRequest|import\(|eval)\b", "".join(page.raw["script"]))


def test_policy_names_the_hashes_of_what_is_there(small):
    page = Page(small[1])
    policy = next(each["content"] for each in page.named("meta") if each.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert "unsafe" not in policy and "http" not in policy
    code = page.raw["script"][-1]  # those before it are data
    for kind, text in (("style-src", page.raw["style"][0]), ("script-src", code)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert [each.get("type") for each in page.named("script")] == ["application/json", None]


def test_ids_are_unique_and_references_lead_somewhere(small):
    page = Page(small[1])
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.tags:
        wanted = [
            attributes[name] for name in ("aria-labelledby", "aria-describedby", "data-copy") if name in attributes
        ]
        wanted += [attributes["href"][1:]] if attributes.get("href", "").startswith("#") else []
        wanted += re.findall(r"url\(#(.*?)\)", " ".join(filter(None, attributes.values())))
        assert set(wanted) <= set(page.ids), attributes


def test_every_figure_has_alternative_text_and_numbers(small):
    blocks = re.findall(r"<figure .*?</figure>", small[1], re.DOTALL)
    assert len(blocks) > 10
    for block in blocks:
        page = Page(block)
        (svg,) = [each for each in page.named("svg") if each.get("role") == "img"]
        assert len(svg["aria-label"]) > 20 and page.named("table"), svg["aria-label"]
        assert not re.search(r'(?:fill|stroke)="#(?:ffffff|000000|262626|333333)"', block)


@pytest.mark.slow
def test_markup_in_names_stays_text(tmp_path):
    for seed in (0, 1):
        put(tmp_path, [falling(1.0)] * 3, cell=EVIL, seed=seed, status="solved")
    put(tmp_path, [falling(1.0)] * 2, cell=EVIL, seed=2, status="failed")
    swept = sweep_of(tmp_path, name="evil", title=EVIL, question=EVIL, source=EVIL)
    sides = [side(Store(tmp_path), run.id, print) for run in Store(tmp_path).each() if run.finished]
    for text in (page_of(tmp_path, sweep=swept), write_comparison(*sides, tmp_path / "c.html").read_text()):
        page = Page(text)
        assert page.named("img") == [] and "onerror" not in {name for _, each in page.tags for name in each}
        assert [each.get("type") for each in page.named("script")][-1] is None
        assert {each.get("type") for each in page.named("script")[:-1]} == {"application/json"}
        assert EVIL in page.text()


CELLS = ("rnn", "lstm", "gru", "rnn:gain=0.5")


def test_opposite_stores_give_opposite_answers(tmp_path):
    trained(tmp_path / "foretold", lambda cell, length, seed: length <= 20, lost=0.1, cells=CELLS)
    trained(tmp_path / "against", lambda cell, length, seed: length >= 80, lost=0.1, cells=CELLS)
    (learned, known), (unlearned, reverse) = (
        answered(read(tmp_path / name, print)) for name in ("foretold", "against")
    )
    assert learned.question == "Up to what length does each cell learn?"
    assert (
        learned.short == "Solved in every seed by RNN, RNN gain=0.5, LSTM and GRU up to T = 20, at one setting."
        and "12 of 36 runs solved the task" in learned.long
    )
    assert (
        unlearned.short
        == "Solved in every seed by RNN, RNN gain=0.5, LSTM and GRU at T = 80, not at every shorter one, "
        "at one setting."
    )
    rho = stats.spearmanr([-2, -4, -8] * 4, [1, 0, 0] * 4).statistic
    assert known.short.startswith(f"Yes, by rank: rank correlation {rho:.2f} [")
    assert reverse.short.startswith(f"No, rather the reverse: rank correlation {-rho:.2f} [")
    assert "where it vanished, 0 of 24 runs solved the task; where it was held, 12 of 12 runs" in known.long
    assert "where it vanished, 12 of 24 runs solved the task; where it was held, 0 of 12 runs" in reverse.long


@pytest.mark.slow
def test_a_run_alone_is_answered_both_ways(tmp_path):
    for name, decades, status in (("lost", 9.0, "trained"), ("kept", 0.3, "solved")):
        put(tmp_path / name, [falling(decades)] * 3, status=status)
    lost, kept = (Page(page_of(tmp_path / name, run="adding-lstm-T40-s0")).text() for name in ("lost", "kept"))
    assert "Does the gradient reach back? Vanishing at initialisation, vanishing at the end of training." in lost
    assert "Was the task learned? Not solved by training step 100." in lost
    assert "Does the gradient reach back? Held at initialisation, held at the end of training." in kept
    assert "Was the task learned? Solved at training step 100." in kept


def test_pairs_at_one_length_are_counted(tmp_path):
    # The GRU loses less and learns more at T = 20 and 40, and at T = 80 it is the other way round.
    solves = {("gru", 20), ("gru", 40), ("lstm", 80)}
    for cell, lost in (("lstm", 0.1), ("gru", 0.05)):
        trained(tmp_path, lambda *run: run[:2] in solves, lost=lost, cells=(cell,), seeds=1)
    found = prediction.rank_agreement(labelled(read(tmp_path, print), without=["length"]))
    assert [(each.length, each.rate, round(each.decades, 6)) for each in found.points] == [
        (20, 0, 2), (40, 0, 4), (80, 1, 8), (20, 1, 1), (40, 1, 2), (80, 0, 4),
    ]  # fmt: skip
    assert (found.pairs, found.agreed, found.tied) == (3, 2, 0)
    expected = stats.spearmanr([-2, -4, -8, -1, -2, -4], [0, 0, 1, 1, 1, 0]).statistic
    assert found.correlation.value == pytest.approx(expected)
    assert "in 2 of 3 pairs" in prediction.briefly(found)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_counted_as_if_each_was_looked_at(seed):
    draw = np.random.default_rng(seed)
    better, other = (np.append(draw.integers(0, 6, draw.integers(1, 30)), np.inf) for _ in range(2))
    pairs = [(one, two) for one in better for two in other]
    agreed, tied = sum(one < two for one, two in pairs), sum(one == two for one, two in pairs)
    assert prediction._compared(better, other) == (len(pairs), agreed, tied)


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_spearmans(seed):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 6, 15).astype(float), random.integers(0, 4, 15).astype(float)
    assert rank_correlation(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    ranked = np.where(x == x.max(), math.inf, x)
    assert rank_correlation(ranked, y).value == pytest.approx(rank_correlation(x, y).value)


def test_interval_of_the_rank_correlation_covers_the_truth():
    random, normal, hits = np.random.default_rng(0), 0.7, []
    truth = 6 / math.pi * math.asin(normal / 2)  # of ranks of two normal variables, Pearson (1907)
    for _ in range(400):
        x, noise = random.normal(size=(2, 20))
        found = rank_correlation(x.tolist(), (normal * x + math.sqrt(1 - normal**2) * noise).tolist())
        hits.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_degenerate_ranks_have_no_interval():
    assert math.isnan(rank_correlation([1, 2, 3], [1, 2, 3]).value)
    assert math.isnan(rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]).value)
    whole = rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert (whole.value, str(whole)) == (-1.0, "-1.00")


def test_a_figure_is_read_as_it_was_drawn(tmp_path):
    put(tmp_path, [falling(d) for d in (30.0, 50.0, 2.0)])
    (record,) = read(tmp_path, print)
    drawing = lag_figure("x", [[record]], ["LSTM"])
    (panel,) = embedded(drawing).data
    for row, one in enumerate(panel["lines"]):
        expected = summarised(record.arrays(), row)
        np.testing.assert_allclose(one["y"], expected - expected[0], rtol=6e-4, atol=1e-9)
        assert one["x"] == list(range(1, 41))
    # Where the pointer is told that a point lies, the drawing has it.
    ax = drawing.figure.axes[0]
    left, top, width, height = panel["box"]
    _, low, high = panel["y"]
    x, y = ax.transData.transform((40, -30.0)) * 72 / drawing.figure.dpi
    below = drawing.figure.get_figheight() * 72 - y
    assert top + (1 - (-30.0 - low) / (high - low)) * height == pytest.approx(below, abs=0.2)
    _, low, high = panel["x"]
    assert left + (40 - low) / (high - low) * width == pytest.approx(x, abs=0.2)


def test_parts_of_lines_have_ids_that_scripts_find(tmp_path):
    noise = np.where(np.arange(40) < 20, 0.0, 60.0)
    curve = GradientCurve.of({"h": falling(30.0).log10_norm["h"]}, noise={"h": noise, "state": noise})
    put(tmp_path, [curve, falling(2.0), falling(1.0)])
    shown = embedded(lag_figure("x.1", [read(tmp_path, print)], ["LSTM"]))
    found = set(re.findall(r' id="figure-x\.1-(a0-s\d-\w+)"', shown.svg))
    every = {f"{line['id']}-{part}" for line in shown.data[0]["lines"] for part in ("line", "band", "key", "name")}
    assert found == every | {"a0-s0-noise", "a0-s0-mark"} and len(shown.data[0]["lines"]) == 2
    assert "style=" not in shown.svg and not re.search(r"(fill|stroke)=.#[0-9a-f]{6}", shown.svg)


def test_figures_to_choose_show_what_was_measured(small):
    """Every task and length, each setting and each leaf of the state is in a figure that selectors lead to."""
    records = [record for record in read(small[0], print) if record.marks]
    drawn = {drawing.name: drawing for drawing in gallery.drawings(records) if drawing.section != "lengths"}
    trained_runs = [record for record in records if record.trained]
    for record in trained_runs:
        task, length = str(record.config["task"]), str(record.config["length"])
        drawing = drawn[f"lag-{task}-T{length}"]
        assert drawing.choices == {"Task": task, "Length T": length, "Show": "each setting"}
        arrays = record.arrays()
        final = summarised(arrays, list(arrays["step"]).index(record.step("final")))
        lines = [line.get_ydata() for ax in drawing.figure.axes for line in ax.get_lines()]
        assert any(len(line) == len(final) and np.allclose(line, final - final[0]) for line in lines)
    (copy,) = [record for record in records if record.config["task"] == "copy"]
    shown = {kind: drawn[f"{kind}-{copy.run.id}"].choices for kind in ("map", "leaves", "kinds", "gates")}
    assert {choice["Task"] for choice in shown.values()} == {"copy"}
    assert len({choice["Show"] for choice in shown.values()}) == 4
    assert [name for name in drawn if name.startswith("overview")] == list(drawn)[:2]


@pytest.mark.slow
def test_two_hundred_runs_fit_into_three_megabytes(tmp_path):
    for cell in ("rnn", "lstm", "gru", "rnn:gain=0.5", "lstm:forget_bias=3"):
        for length in (25, 50, 100, 200, 400):
            for seed in range(8):
                put(
                    tmp_path,
                    [falling(d, length, seed=seed) for d in (5, 9, 2)],
                    cell=cell,
                    length=length,
                    seed=seed,
                )
    text = page_of(tmp_path)
    assert len(text.encode()) < 3e6


def test_formats_are_what_was_asked(tmp_path):
    put(tmp_path, [falling(2.0)], steps=0, status="measured")
    tables = ["curves.csv", "summaries.csv", "seeds.csv"]
    for formats, names in (
        (("csv",), tables),
        (("html",), ["index.html"]),
        (("html", "csv"), ["index.html", *tables]),
    ):
        assert [path.name for path in write_report(tmp_path, print, formats=formats)] == names
        derived = ["made.json", *(["parts"] if "html" in formats else [])]
        there = sorted(path.name for path in (tmp_path / "report").iterdir())
        assert there == sorted([*names, *derived])
    whole = write_report(tmp_path, print, formats=FORMATS)
    assert [path.name for path in whole[:2]] == ["index.html", "index.md"]
    assert whole[0].read_text() == page_of(tmp_path)


@pytest.mark.slow
def test_sweep_says_in_both_formats_whether_it_could_be_known(tmp_path):
    trained(tmp_path, lambda cell, length, seed: length <= 20, lost=0.1, cells=CELLS, seeds=1)
    assert "Does the initial gradient predict learning?\nYes, by rank: rank" in wording(read(tmp_path, print))
    text = Page(page_of(tmp_path, sweep=sweep_of(tmp_path, absent=(5,)))).text()
    assert "Which cell remembers?" in text and "To which T?" in text
    assert "Does the initial gradient predict learning? Yes, by rank: rank correlation" in text
    assert "12 of 13 runs complete: 8 trained, 4 solved. Not complete: 1 missing." in text


def test_comparison_overlays_both_and_says_what_differs(tmp_path):
    put(tmp_path, [falling(d) for d in (5.0, 9.0, 4.0)])
    put(tmp_path, [falling(d) for d in (1.0, 2.0, 0.5)], cell="gru", status="solved", learning_rate=0.001)
    store = Store(tmp_path)
    a, b = side(store, "adding-lstm", print), side(store, "adding-gru", print)
    text = Page(write_comparison(a, b, tmp_path / "c.html").read_text()).text()
    assert "A: The gradient reaches 24 of 40 timesteps at initialisation, 14 at worst (training step 10)" in text
    assert "B: The gradient reaches all 40 timesteps at initialisation and as far at the end of training" in text
    assert "A: LSTM on adding, T = 40 : the gradient vanishes (5.0 decades lost) at initialisation" in text
    assert "at the end it holds (0.5 decades lost). Solved at training step 100, at one setting (seed 0)." in text
    assert "cell lstm gru" in text and "learning rate 0.01 0.001" in text and "hidden 8 8" not in text
    assert "at initialisation: A: LSTM 5.0 decades lost; B: GRU 1.0 decades lost" in text
    with pytest.raises(GradlabError, match="two different"):
        write_comparison(a, a, tmp_path / "c.html")
    with pytest.raises(GradlabError, match="is not in"):
        side(store, "nothing", print)


def test_a_run_that_did_not_end_has_no_page(tmp_path):
    put(tmp_path, [falling(1.0)] * 2, status="interrupted")
    with pytest.raises(GradlabError, match="did not come to an end"):
        page_of(tmp_path, run="adding-lstm-T40-s0")


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_colours_of_the_page_have_contrast(side):
    sheets = render.asset("page.css") + render.asset("figures.css")
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", sheets)
    colours = {name: pair[side] for name, *pair in pairs}
    assert [pair[0] for name, *pair in pairs if re.fullmatch(r"c\d+", name)] == list(COLOURS)
    for name, colour in colours.items():
        low, high = sorted((luminance(colour), luminance(colours["paper"])))
        ratio = (high + 0.05) / (low + 0.05)
        if name in ("ink", "muted", "accent", "bad"):
            assert ratio >= 4.5, (name, ratio)  # WCAG 2.2, 1.4.3: letters
        elif re.fullmatch(r"c\d+", name):
            assert ratio >= 3.0, (name, ratio)  # 1.4.11: what a figure is made of


def test_no_two_lines_of_a_figure_look_alike():
    styles = [line_style(index) for index in range(gallery.SETTINGS)]
    hues = sorted((colorsys.rgb_to_hsv(*to_rgb(style.colour)), style.colour) for style in styles)
    for (first, one), (second, other) in itertools.pairwise(hues):
        apart = np.subtract(to_rgb(one), to_rgb(other))
        assert second[0] - first[0] > 0.03 or np.abs(apart).max() > 0.2, (one, other)
    assert len({style.colour for style in styles}) == len({style[1:] for style in styles[:8]}) + 4 == 12


def test_answers_name_few_and_count_the_rest(tmp_path):
    for best in range(8):
        for length in (10, 20, 30, 40, 50, 60, 70):
            solved = "solved" if length <= 10 * best else "trained"
            put(tmp_path, [falling(1.0, length)] * 3, cell=f"cell{best}", length=length, status=solved)
    text = learned_by(labelled(read(tmp_path, print), without=["length"]))
    assert text == "7 of 8 settings solved some length, cell7 up to T = 70, the longest, at one setting."


@pytest.mark.parametrize("draw", [leaves.leaves_figure, leaves.kinds_figure])
def test_leaves_and_kinds_are_drawn_whole(tmp_path, draw):
    both = [
        GradientCurve.of({"h": falling(d).log10_norm["h"], "c": falling(d / 3).log10_norm["h"] + 1})
        for d in (2, 9, 30)
    ]
    put(
        tmp_path, both, total=[falling(0.5), falling(0.5), GradientCurve.of({"h": -falling(60.0).log10_norm["h"]})]
    )
    (record,) = read(tmp_path, print)
    drawing = draw("x", record, "LSTM")
    assert len(drawing.figure.axes) == 2
    for ax, row in zip(drawing.figure.axes, (0, 2), strict=True):
        low, high = ax.get_ylim()
        drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines() if line.get_label()[0] != "_"}
        assert all(low <= values.min() and values.max() <= high for values in drawn.values())
        key, curve, leaf = ("h", "task", "h") if "h" in drawn else ("total (all outputs)", "total", "state")
        base = summarised(record.arrays(), row, "total" if curve == "total" else "task")[0]
        np.testing.assert_allclose(drawn[key], summarised(record.arrays(), row, curve, leaf) - base)
    put(tmp_path / "one", [falling(2.0)] * 3)
    assert draw("x", read(tmp_path / "one", print)[0], "RNN") is None
