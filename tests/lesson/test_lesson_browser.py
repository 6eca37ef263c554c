"""A lesson in a real browser: the sliders show what was measured; without the script all of it is there too."""

import re

import numpy as np
import pytest
from browsing import Opened, browser, needs_browser
from lessons import LENGTHS, small
from synthetic import falling, put

from gradlab.lesson import words as lesson_words
from gradlab.lesson.page import lesson_page
from gradlab.lesson.questions import questions
from gradlab.report.data.records import read
from gradlab.runs.knobs import turned_by_hand

pytestmark = [needs_browser(), pytest.mark.usefixtures("compiled_once")]


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def lesson():
    return small(knob=turned_by_hand("lstm", "forget_bias=-8,1,4"))


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


def points(path):
    return [float(number) for number in re.findall(r"[\d.]+", path)]


def turn(page, name, at):
    """Move a slider by the keyboard, as a reader may."""
    page.locator(f"#{name}").focus()
    page.keyboard.press("Home")
    for _ in range(at):
        page.keyboard.press("ArrowRight")


def test_the_sliders_show_the_position_that_was_measured(page, lesson):
    drawn = set()
    for row in range(3):
        for at in range(len(LENGTHS)):
            turn(page, "knob", row)
            turn(page, "length", at)
            one = lesson.positions[row][at]
            assert page.locator("#lab-said").inner_text() == lesson_words.sentence(lesson, one)
            assert page.locator("#lab-command").inner_text() == one.command
            shown = page.locator(".reading dd").all_inner_texts()
            assert shown == [value for _, value in lesson_words.reading(lesson, one)]
            assert shown[0] in page.locator("#lab-chart").get_attribute("aria-label")
            path = page.locator("#lab-chart path.line").first.get_attribute("d")
            assert path.count("L") == LENGTHS[at] - 1
            drawn.add(path)
    assert len(drawn) == 3 * len(LENGTHS)


def test_the_script_draws_what_the_page_was_written_with(chromium, file, page):
    bare = Opened(chromium, file, java_script_enabled=False)
    drawn, written = (
        [points(line.get_attribute("d")) for line in opened.locator("#lab-chart path.line").all()]
        for opened in (page, bare)
    )
    assert len(drawn) == len(written) >= 3
    for one, other in zip(drawn, written, strict=True):
        np.testing.assert_allclose(one, other, atol=0.6)  # the script has two decimals of every value
    bare.context.close()


def test_a_closer_look_changes_the_scale_alone(page, lesson):
    turn(page, "knob", 0)
    before = page.locator("#lab-chart path.line").first.get_attribute("d")
    said = page.locator("#lab-said").inner_text()
    page.locator("#zoom").click()
    assert page.locator("#zoom").get_attribute("aria-pressed") == "true"
    assert page.locator("#lab-chart path.line").first.get_attribute("d") != before
    assert page.locator("#lab-said").inner_text() == said
    page.locator("#zoom").click()
    assert page.locator("#lab-chart path.line").first.get_attribute("d") == before


def test_questions_are_checked_against_the_measurements(page, lesson):
    asked = questions(lesson)
    assert len(asked) >= 2
    right = {index: set() for index in range(len(asked))}
    for row in range(3):
        for at in range(len(LENGTHS)):
            turn(page, "knob", row)
            turn(page, "length", at)
            for index in right:
                page.locator(f"[data-check='{index}']").click()
                told = page.locator(f"#verdict-{index}")
                right[index] |= {(row, at)} if told.get_attribute("data-right") == "true" else set()
                assert told.inner_text().endswith(lesson_words.sentence(lesson, lesson.positions[row][at]))
    assert right == {index: set(one.accepted) for index, one in enumerate(asked)}


def test_without_the_script_every_position_and_answer_is_there(chromium, file, lesson):
    page = Opened(chromium, file, java_script_enabled=False)
    assert not page.locator("#knob").is_visible() and page.locator("#lab-chart").is_visible()
    assert page.locator(".multiples svg").count() == 3
    for index, one in enumerate(questions(lesson)):
        answer = page.locator(".questions details").nth(index)
        answer.locator("summary").click()
        assert answer.locator("p").inner_text() == one.answer
    page.context.close()


def test_a_printed_lesson_has_its_answers_and_no_controls(chromium, file):
    page = Opened(chromium, file)
    page.emulate_media(media="print")
    assert not page.locator("#knob").is_visible() and page.locator("#lab-chart").is_visible()
    page.context.close()
