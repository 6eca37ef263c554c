"""A lesson in a real browser: the sliders show what was measured; without the script all of it is there too."""

import pytest
from browsing import Opened, browser, needs_browser
from lessons import LENGTHS, compared, small
from synthetic import falling, put

from gradlab.lesson import explanation, wording
from gradlab.lesson.axes import parse_axis
from gradlab.lesson.page import comparison_page, lesson_page
from gradlab.lesson.questions import questions
from gradlab.report.data.records import read

pytestmark = [pytest.mark.browser, needs_browser()]


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def lesson():
    return small(axis=parse_axis("lstm", "forget_bias=-8,1,4"))


@pytest.fixture(scope="module")
def file(lesson, tmp_path_factory):
    root = tmp_path_factory.mktemp("lesson")
    put(root, [falling(1.0), falling(9.0), falling(0.5)], status="solved")
    target = root / "lesson.html"
    target.write_text(lesson_page(lesson, read(root, print)[0]), encoding="utf-8")
    return target


@pytest.fixture
def page(chromium, file):
    opened = Opened(chromium, file)
    yield opened
    assert opened.said == [] and opened.foreign() == []
    opened.context.close()


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "telephone"],
)
def test_a_lesson_opens_without_complaint(chromium, file, context):
    page = Opened(chromium, file, **context)
    assert page.axe() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.page.viewport_size["width"]
    assert page.said == [] and page.foreign() == []
    page.context.close()


def turn(page, name, at):
    """Move a slider by the keyboard, as a reader may."""
    page.locator(f"#{name}").focus()
    page.keyboard.press("Home")
    for _ in range(at):
        page.keyboard.press("ArrowRight")


def visible(page, selector):
    """What the reader sees of some elements of the sliders."""
    return [each for each in page.locator(f"#lab {selector}").all() if each.is_visible()]


def curve(page):
    """The points of the visible line of the whole state."""
    (line,) = visible(page, "[id*='-line0'] path")
    return line.get_attribute("d")


def test_the_sliders_show_the_position_that_was_measured(page, lesson):
    drawn = set()
    for row in range(3):
        for at in range(len(LENGTHS)):
            turn(page, "axis", row)
            turn(page, "length", at)
            one = lesson.grid[row][at]
            assert [each.inner_text() for each in visible(page, ".finding")] == [wording.sentence(lesson, one)]
            assert [each.inner_text() for each in visible(page, "code")] == [one.command]
            shown = [each.inner_text() for each in visible(page, "dd")]
            assert shown == [value for _, value in wording.numbers(one)]
            (svg,) = visible(page, "svg")
            assert shown[0] in svg.get_attribute("aria-label")
            assert shown[0] in page.locator("#lab-status").text_content()
            assert page.locator("output[for=length]").inner_text() == f"T = {one.length}"
            assert page.locator("output[for=axis]").inner_text() == one.value.replace("-", "−")
            drawn.add(curve(page))
    assert len(drawn) == 3 * len(LENGTHS)


def test_the_script_shows_what_the_page_was_written_with(chromium, file, page):
    bare = Opened(chromium, file, java_script_enabled=False)
    assert curve(bare) == curve(page)
    for selector in ("dd", ".finding", "code"):
        one, other = ([each.inner_text() for each in visible(opened, selector)] for opened in (bare, page))
        assert one == other
    bare.context.close()


def test_zooming_in_changes_the_scale_alone(page, lesson):
    turn(page, "axis", 0)
    before, said = curve(page), visible(page, ".finding")[0].inner_text()
    button = page.locator("#lab [data-toggle]")
    assert button.inner_text() == "Zoom in"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert curve(page) != before and visible(page, ".finding")[0].inner_text() == said
    button.click()
    assert curve(page) == before


def test_questions_are_checked_against_the_measurements(page, lesson):
    asked = questions(lesson)
    assert len(asked) >= 2
    right = {index: set() for index in range(len(asked))}
    for row in range(3):
        for at in range(len(LENGTHS)):
            turn(page, "axis", row)
            turn(page, "length", at)
            for index in right:
                page.locator(f"[data-check='verdict-{index + 1}']").click()
                told = page.locator(f"#verdict-{index + 1}")
                right[index] |= {(row, at)} if told.get_attribute("data-right") == "true" else set()
                assert told.inner_text().endswith(wording.sentence(lesson, lesson.grid[row][at]))
    assert right == {index: set(one.accepted) for index, one in enumerate(asked)}


def test_without_the_script_every_position_and_answer_is_there(chromium, file, lesson):
    page = Opened(chromium, file, java_script_enabled=False)
    assert not page.locator("#axis").is_visible() and len(visible(page, "svg")) == 1
    assert page.locator(".multiples svg").count() == 3
    for index, one in enumerate(questions(lesson)):
        answer = page.locator(".questions details").nth(index)
        answer.locator("summary").click()
        assert answer.locator("p").inner_text() == one.answer
    page.context.close()


def test_a_printed_lesson_has_its_answers_and_no_controls(chromium, file):
    page = Opened(chromium, file)
    page.emulate_media(media="print")
    assert not page.locator("#axis").is_visible() and len(visible(page, "svg")) == 1
    page.context.close()


# ---------------------------------------------------------------- several cells


@pytest.fixture(scope="module")
def comparison():
    return compared({"rnn": -4.1, "lstm": -3.2, "gru": -25.0}, lengths=(10, 20, 40))


@pytest.fixture(scope="module")
def cells_file(comparison, tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    for cell in ("rnn", "lstm", "gru"):
        put(root, [falling(4.0), falling(9.0), falling(0.5)], status="solved", cell=cell)
    target = root / "cells.html"
    target.write_text(comparison_page(comparison, read(root, print)), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "telephone"],
)
def test_the_page_on_several_cells_opens_without_complaint(chromium, cells_file, context):
    page = Opened(chromium, cells_file, **context)
    assert page.axe() == []
    width = page.page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    (svg,) = visible(page, "svg")
    (table,) = visible(page, ".compared > .scroll table")
    assert all(each.bounding_box()["x"] + each.bounding_box()["width"] <= width for each in (svg, table))
    assert page.said == [] and page.foreign() == []
    page.context.close()


def test_the_slider_shows_the_curves_and_numbers_of_its_length(chromium, cells_file, comparison):
    page = Opened(chromium, cells_file)
    for column, length in enumerate(comparison.lengths):
        turn(page, "length", column)
        said = explanation.headline(comparison.cells, column)
        assert [each.inner_text() for each in visible(page, ".finding")] == [said]
        assert page.locator("output[for=length]").inner_text() == f"T = {length}"
        (svg,) = visible(page, "svg")
        assert said in svg.get_attribute("aria-label") and said in page.locator("#lab-status").text_content()
        lost = [explanation.lost(each.points[column].curve.span()) for each in comparison.cells]
        assert [row.inner_text() for row in visible(page, ".compared > .scroll td:nth-child(2)")] == lost
    page.context.close()


def test_without_the_script_the_longest_length_is_shown_and_all_are_in_a_table(chromium, cells_file, comparison):
    page = Opened(chromium, cells_file, java_script_enabled=False)
    assert [each.inner_text() for each in visible(page, ".finding")] == [explanation.headline(comparison.cells)]
    page.locator("#curves > details summary").click()
    assert page.locator("#curves > details td").count() == len(comparison.cells) * len(comparison.lengths)
    page.emulate_media(media="print")
    assert len(visible(page, "svg")) == 1
    page.context.close()
