"""Pages made from real runs, opened in a real browser; `browsing.py` says what that needs."""

import json
import time

import matplotlib
import numpy as np
import pytest
from browsing import Opened, browser, needs_browser
from studies import EVIL, sweep_of
from synthetic import falling, put

import gradlab
from gradlab.report.data.records import read, summarised
from gradlab.report.page.write import write_page

matplotlib.use("Agg")
pytestmark = [pytest.mark.browser, needs_browser()]
SMALL = {"hidden": 3, "batch": 4, "steps": 5, "measure_batch": 4, "stop": "never"}


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Real runs: an LSTM at two lengths, an RNN, two seeds of each, and the copy task, whose total differs."""
    root = tmp_path_factory.mktemp("runs")
    for cell, lengths in (("lstm", (6, 12)), ("rnn", (12,))):
        for length in lengths:
            for seed in (0, 1):
                gradlab.run(gradlab.RunSpec(cell=cell, length=length, seed=seed, **SMALL), root)
    gradlab.run(gradlab.RunSpec(task="copy", cell="lstm", length=3, **SMALL), root)
    return root


@pytest.fixture(scope="module")
def path(runs):
    sweep = sweep_of(runs, name="real", title="Which cell remembers?")
    return write_page(runs, print, runs / "page.html", sweep=sweep)


@pytest.fixture
def page(chromium, path):
    opened = Opened(chromium, path)
    yield opened
    assert opened.said == [] and opened.foreign() == []
    opened.context.close()


def record(runs, name):
    return next(one for one in read(runs, print) if one.run.id.startswith(name))


def shown(page, section):
    """The ids of the figures of a section that are not hidden."""
    return [figure.get_attribute("id") for figure in page.locator(f"#{section} figure:visible").all()]


def choose(page, section, **options):
    """Choose in the selectors of a section; a space in their names is an underscore here."""
    for name, value in options.items():
        page.locator(f"#{section} .choosing label", has_text=name.replace("_", " ")).locator(
            "select"
        ).select_option(value)


def parts(page, figure, label, part):
    """Parts of the lines with a name: `line`, `band`, `key` or `name`."""
    panels = json.loads(page.locator("#figure-data").text_content())[figure]
    ids = [line["id"] for panel in panels for line in panel["lines"] if line["label"] == label]
    return [page.locator(f"[id='{figure}-{one}-{part}']") for one in ids]


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "telephone"],
)
def test_a_page_opens_without_complaint(chromium, path, context, record_property):
    started = time.perf_counter()
    page = Opened(chromium, path, **context)
    assert page.locator(".choosing select").count() > 0  # the script has run
    record_property("seconds_to_interactive", round(time.perf_counter() - started, 3))
    record_property(
        "dom_interactive_ms", page.evaluate("performance.timing.domInteractive - performance.timing.fetchStart")
    )
    record_property("bytes", path.stat().st_size)
    assert page.axe() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.page.viewport_size["width"]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (context.get("color_scheme") == "dark")
    assert page.said == [] and page.foreign() == []
    page.context.close()


def test_axe_would_see_a_fault(page):
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(fault.startswith("button-name") for fault in page.axe())


def test_the_first_screen_answers_both_questions(page):
    assert page.locator("h1").inner_text() == "Which cell remembers?"
    said = page.locator(".headline").first.inner_text()
    assert "the gradient at initialisation reaches" in said and "solved" in said
    for name in (".headline", "svg.plot", ".grid"):
        box = page.locator(name).first.bounding_box()
        assert box["y"] + box["height"] < 800 and box["x"] + box["width"] <= 1280


def test_without_scripts_everything_that_matters_is_there(chromium, path):
    page = Opened(chromium, path, java_script_enabled=False)
    assert page.locator("figure svg.plot").first.is_visible() and page.locator(".grid").first.is_visible()
    assert page.locator("#numbers table").is_visible() and page.locator("#commands pre").is_visible()
    assert page.locator(".js:visible").count() == 0
    page.context.close()


def test_headings_sort_tables_by_number_and_by_keyboard(page):
    head = page.locator("#numbers th", has_text="slope").first
    assert not head.is_visible()
    page.locator("#numbers .all-columns input").check()
    assert head.is_visible()
    column = page.evaluate("head => head.cellIndex", head.element_handle())
    cells = f"[...document.querySelectorAll('#numbers tbody tr')].map(row => row.cells[{column}].textContent)"
    first = f"{cells}.map(parseFloat)"
    before = page.evaluate(first)
    head.locator("button").click()
    assert page.evaluate(first) == sorted(before) != before and head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(first) == sorted(before, reverse=True) and head.get_attribute("aria-sort") == "descending"
    words = page.locator("#numbers th", has_text="setting").first
    words.locator("button").click()
    said = page.locator("#numbers tbody th").all_inner_texts()
    assert said == sorted(said) and head.get_attribute("aria-sort") is None


def test_a_reader_chooses_among_figures(page):
    assert shown(page, "curves") == ["figure-lag-adding-T12"]
    choose(page, "curves", Length_T="6")
    assert shown(page, "curves") == ["figure-lag-adding-T6"]
    choose(page, "curves", Show="settings together")
    assert shown(page, "curves") == ["figure-cells-adding-T6"]
    choose(page, "curves", Task="copy")  # has neither this length nor a choice of others
    assert shown(page, "curves") == ["figure-lag-copy-T3"]
    assert page.locator("#curves .choosing label:visible").all_inner_texts() == ["Task\nadding\ncopy"]
    choose(page, "runs", Task="adding", Setting="LSTM", Show="leaves of the state")
    assert [name.partition("-adding-lstm-T12-s0")[0] for name in shown(page, "runs")] == ["figure-leaves"]
    choose(page, "runs", Setting="RNN")  # one leaf only: the first that there is
    assert [name.partition("-adding-rnn-T12-s0")[0] for name in shown(page, "runs")] == ["figure-map"]


def read_by_key(page, figure, presses):
    page.locator(f"#{figure} .scroll").first.focus()
    for key in presses:
        page.keyboard.press(key)
    return page.locator(f"#{figure} .readout").inner_text()


def test_keys_read_the_values_that_were_measured(page, runs):
    group = [record(runs, f"adding-lstm-T12-s{seed}").arrays() for seed in (0, 1)]
    lines = [summarised(arrays, -1) for arrays in group]
    mean = np.mean([line - line[0] for line in lines], axis=0)
    said = read_by_key(page, "figure-lag-adding-T12", ["ArrowUp"] + ["ArrowRight"] * 11)
    assert "final (training step 5): lag (timesteps before the loss) 12: " in said
    assert said.endswith(" change in gradient norm relative to lag 1 (decades)")
    value = float(said.split(": ")[2].split()[0].replace("−", "-"))
    assert value == pytest.approx(mean[11], rel=1e-3)


def test_the_pointer_reads_the_nearest_point(page):
    figure = "figure-lag-adding-T12"
    panel = json.loads(page.locator("#figure-data").text_content())[figure][0]
    line, (left, top, width, height) = panel["lines"][0], panel["box"]
    at = [
        (value - low) / (high - low)
        for value, (_, low, high) in ((line["x"][6], panel["x"]), (line["y"][6], panel["y"]))
    ]
    svg = page.locator(f"#{figure} svg")
    svg.scroll_into_view_if_needed()
    box, view = svg.bounding_box(), [float(side) for side in svg.get_attribute("viewBox").split()]
    scale = box["width"] / view[2]
    y = top + (1 - at[1]) * height - view[1]
    page.mouse.move(box["x"] + (left + at[0] * width) * scale, box["y"] + y * scale)
    said = page.locator(f"#{figure} .readout").inner_text()
    assert f"lag (timesteps before the loss) {line['x'][6]}: " in said
    assert float(said.split(": ")[2].split()[0].replace("−", "-")) == pytest.approx(line["y"][6], abs=0.02)
    cross = page.locator(f"#{figure} .cross").bounding_box()
    assert cross["x"] + cross["width"] / 2 == pytest.approx(box["x"] + (left + at[0] * width) * scale, abs=15)


def test_a_name_in_the_legend_hides_its_line_and_shows_it_again(page):
    figure = "figure-loss-adding-T12"
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    (line,), (band,), (name,) = (parts(page, figure, "LSTM", part) for part in ("line", "band", "name"))
    name.click()
    assert not line.is_visible() and not band.is_visible() and name.is_visible()
    assert (
        "off" in name.get_attribute("class")
        and page.locator(f"#{figure} .readout").inner_text() == "LSTM is hidden"
    )
    (other,) = parts(page, figure, "RNN", "line")
    assert other.is_visible()
    name.click()
    assert line.is_visible() and band.is_visible() and "off" not in name.get_attribute("class")
    name.hover()
    assert "dim" in other.get_attribute("class") and "dim" not in (line.get_attribute("class") or "")
    page.mouse.move(1, 1)
    assert "dim" not in other.get_attribute("class")


def test_keys_hide_lines_too(page):
    figure = "figure-loss-adding-T12"
    said = read_by_key(page, figure, ["ArrowRight"])
    label = said.partition(":")[0]
    (line,) = parts(page, figure, label, "line")
    assert read_by_key(page, figure, ["Enter"]) == f"{label} is hidden" and not line.is_visible()
    assert read_by_key(page, figure, ["Escape"]) == f"{label} is shown" and line.is_visible()
    data = json.loads(page.locator("#figure-data").text_content())[figure][0]["lines"]
    first = next(one for one in data if one["label"] == label)
    assert said.startswith(f"{label}: training step {first['x'][0]}: ")
    assert float(said.split(": ")[2].split()[0]) == pytest.approx(first["y"][0], rel=1e-3)


def test_a_command_is_copied(page):
    button = page.locator("[data-copy]").first
    source = page.locator(f"[id='{button.get_attribute('data-copy')}']")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button.click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == source.text_content() != ""


def test_light_and_dark_are_a_choice(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    page.locator("[data-theme]").focus()
    page.keyboard.press("Space")
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    assert page.axe() == []


def test_what_is_folded_is_printed(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    closed = "[...document.querySelectorAll('details.more')].filter(fold => !fold.open).length"
    assert page.evaluate(closed) == 0 and page.locator(".js:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


def test_markup_in_names_and_titles_does_nothing(chromium, tmp_path):
    for seed in (0, 1):
        put(tmp_path, [falling(1.0)] * 3, cell=EVIL, seed=seed)
    swept = sweep_of(tmp_path, name="evil", title=EVIL, question=EVIL)
    page = Opened(chromium, write_page(tmp_path, print, tmp_path / "evil.html", sweep=swept))
    figure = shown(page, "curves")[0]
    page.locator(f"#{figure} [id$='-name']").first.click()
    read_by_key(page, figure, ["ArrowRight", "Enter"])
    assert EVIL[:10] in page.locator("main").inner_text()
    assert page.evaluate("window.hacked === undefined") and page.locator("img").count() == 0
    assert page.locator("h1").inner_text() == EVIL
    assert page.said == [] and page.foreign() == []
    page.context.close()
