"""Pages made from real runs, opened in a real browser; `browsing.py` says what that needs."""

import json
import time

import matplotlib
import pytest
from browsing import Opened, browser, needs_browser
from studies import EVIL, sweep_of
from synthetic import falling, put

import gradlab
from gradlab.report.data.records import read, summarised
from gradlab.report.page.write import write_page
from gradlab.runs.spec import command

matplotlib.use("Agg")
pytestmark = needs_browser()
SMALL = {"hidden": 3, "batch": 4, "steps": 5, "measure_batch": 4, "stop": "never"}
CHART = "#explore [data-chart]"


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


def paths(page):
    return page.locator(f"{CHART} path[data-line]")


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "telephone"],
)
def test_a_page_opens_without_complaint(chromium, path, context, record_property):
    started = time.perf_counter()
    page = Opened(chromium, path, **context)
    assert paths(page).count() > 0  # the script has run
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
    for text in ("Up to what length does each cell learn?", "Could I have known at initialisation?"):
        box = page.get_by_text(text, exact=False).first.bounding_box()
        assert box["y"] + box["height"] < 800
    box = page.locator(".grid").first.bounding_box()
    assert box["y"] + box["height"] < 800 and box["x"] + box["width"] <= 1280


def test_without_scripts_everything_that_matters_is_there(chromium, path):
    page = Opened(chromium, path, java_script_enabled=False)
    assert page.locator("figure svg.plot").first.is_visible() and page.locator(".grid").first.is_visible()
    assert page.locator("#numbers table").is_visible() and page.locator("#commands pre").is_visible()
    assert page.locator(".js:visible").count() == 0
    page.context.close()


def test_headings_sort_tables_by_number_and_by_keyboard(page):
    head = page.locator("#numbers th", has_text="slope").first
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


def test_a_reader_chooses_task_length_cell_seed_checkpoint_and_leaf(page):
    assert page.locator("[data-choose=task]").input_value() == "adding"
    assert page.locator("[data-choose=length]").input_value() == "12"
    page.select_option("[data-choose=seed]", "")
    assert paths(page).count() == 2 * 2 * 3  # cells, seeds, checkpoints
    page.select_option("[data-choose=when]", "final")
    assert paths(page).count() == 4
    page.select_option("[data-choose=setting]", "RNN")
    assert paths(page).count() == 2
    page.select_option("[data-choose=setting]", "LSTM")
    page.select_option("[data-choose=seed]", "1")
    assert page.locator("[data-choose=leaf] option").all_inner_texts() == ["state", "c", "h"]
    page.select_option("[data-choose=leaf]", "c")
    assert page.locator("#explore [data-key] button").inner_text().strip() == "LSTM, seed 1, final"
    page.select_option("[data-choose=task]", "copy")
    assert page.locator("[data-choose=length] option").all_inner_texts() == ["3"]
    assert "state, total gradient" in page.locator("[data-choose=leaf] option").all_inner_texts()


def read_by_key(page, presses):
    page.locator(CHART).focus()
    for key in presses:
        page.keyboard.press(key)
    return page.locator("#explore [data-readout]").inner_text()


def test_keys_read_the_values_that_were_measured(page, runs):
    page.select_option("[data-choose=setting]", "RNN")
    page.select_option("[data-choose=when]", "final")
    one = record(runs, "adding-rnn-T12-s0")
    curve = summarised(one.arrays(), -1)
    said = read_by_key(page, ["ArrowRight"] * 11)
    expected = f"lag 12: {curve[11] - curve[0]:.2f} decades from lag 1 (log10 norm {curve[11]:.2f})"
    assert said == f"RNN, seed 0, final (training step 5): {expected.replace('-', '−')}"
    page.select_option("[data-choose=axis]", "timestep")
    assert "timestep 1 (lag 11)" in read_by_key(page, ["ArrowRight"])
    page.keyboard.press("Escape")
    assert page.locator(f"{CHART} .bright").count() == 0


def test_the_pointer_reads_the_nearest_point(page, runs):
    page.select_option("[data-choose=setting]", "LSTM")
    page.select_option("[data-choose=when]", "initial")
    curve = summarised(record(runs, "adding-lstm-T12-s0").arrays(), 0)
    line = page.evaluate(f"document.querySelector('{CHART} path[data-line]').getAttribute('d')")
    x, y = map(float, line.split("L")[6].split())  # lag 7
    page.locator(CHART).scroll_into_view_if_needed()
    box = page.locator(CHART).bounding_box()
    page.mouse.move(box["x"] + x / 760 * box["width"], box["y"] + y / 400 * box["height"])
    said = page.locator("#explore [data-readout]").inner_text()
    assert f"lag 7: {curve[6] - curve[0]:.2f} decades".replace("-", "−") in said
    before = float(x)
    page.select_option("[data-choose=axis]", "timestep")
    turned = page.evaluate(f"document.querySelector('{CHART} path[data-line]').getAttribute('d')")
    after = float(turned.split("L")[6].split()[0])
    assert after == pytest.approx(58 + 760 - 14 - before, abs=0.2)  # mirrored between the ends of the axis


def test_one_curve_stands_out_and_its_command_is_copied(page, runs):
    page.select_option("[data-choose=seed]", "")
    page.select_option("[data-choose=when]", "final")
    button = page.locator("#explore [data-key] button", has_text="RNN, seed 1, final")
    button.click()
    assert page.locator(f"{CHART} path.bright").count() == 1 and page.locator(f"{CHART} path.dim").count() == 3
    wanted = command(record(runs, "adding-rnn-T12-s1").config)
    assert page.locator("#explore-command").inner_text() == wanted
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=explore-command]").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == wanted
    assert "RNN, T = 12, seed 1" in page.locator("#explore-map [data-map-said]").inner_text()
    assert page.locator("#explore-map rect").count() == 12 * len(record(runs, "adding-rnn-T12-s1").log)


def test_a_drawn_figure_highlights_and_reads(page):
    figure = page.locator("figure[id^='figure-loss-adding-T12']")
    figure.scroll_into_view_if_needed()
    figure.get_by_role("button", name="LSTM").click()
    dimmed = figure.locator("svg.plot .dim")
    assert dimmed.count() > 0 and figure.locator("svg.plot .dim[stroke='var(--c1)']").count() == 0
    box = figure.locator(".scroll").first
    box.focus()
    page.keyboard.press("ArrowRight")
    points = json.loads(page.locator("#points").text_content())[figure.get_attribute("id")]
    line = next(one for one in points[0]["series"] if one["label"] == "LSTM")
    said = figure.locator(".readout").inner_text()
    assert said.startswith(f"LSTM: training step {line['x'][0]}: ")
    value = float(said.split(": ")[2].split()[0])
    assert value == pytest.approx(line["y"][0], rel=1e-3)
    figure.get_by_role("button", name="LSTM").click()
    assert dimmed.count() == 0


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
    page.select_option("[data-choose=seed]", "")
    for button in page.locator("#explore [data-key] button").all()[:2]:
        button.click()
    read_by_key(page, ["ArrowRight"])
    assert page.evaluate("window.hacked === undefined") and page.locator("img").count() == 0
    assert page.locator("h1").inner_text() == EVIL
    assert page.said == [] and page.foreign() == []
    page.context.close()
