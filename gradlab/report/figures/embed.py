"""A figure on the page: the drawing, its caption and the table behind it; its heading stands above."""

from typing import Any, NamedTuple

from gradlab.report.figures.drawing import Drawing
from gradlab.report.figures.svg import inline_svg
from gradlab.report.figures.tooltips import panels_of, pointed, tables_of
from gradlab.report.page.html import Markup, prose, scroll, tag


class Framed(NamedTuple):
    """A figure as markup, with what the pointer reads in it; `name` is that of the drawing."""

    name: str
    heading: str
    markup: Markup
    points: list[dict[str, Any]]


def framed(drawing: Drawing) -> Framed:
    """Put a drawing on the page; the drawing itself is no longer needed then."""
    name = f"figure-{drawing.name}"
    caption = drawing.caption.removeprefix(drawing.heading).lstrip(". ")
    heading = drawing.heading[0].upper() + drawing.heading[1:]
    svg = inline_svg(drawing, heading, f"{name}-caption")
    panels = panels_of(drawing.figure)
    tables = tables_of(drawing.figure, panels)
    parts = [
        scroll(svg, heading),
        tag("figcaption", prose(caption), id=f"{name}-caption"),
        tag("details", tag("summary", "Numbers of this figure"), tables) if tables else None,
    ]
    return Framed(drawing.name, heading, tag("figure", *parts, id=name, class_="drawing"), pointed(panels))
