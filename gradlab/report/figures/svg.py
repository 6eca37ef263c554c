"""A figure as SVG that stands inside a page: its colours are the page's, and nothing in it is a style."""

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure
from matplotlib.text import Text

from gradlab.report.figures.drawing import COLOURS, Drawing, darker, themed
from gradlab.report.figures.save import freeze
from gradlab.report.figures.thin import thinned
from gradlab.report.page.html import Markup

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_PAGE = {
    "#000000": "var(--ink)",
    "#262626": "var(--ink)",
    "#333333": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#e4e4e4": "var(--grid)",
    "#eeeeee": "var(--grid)",
    "#cccccc": "var(--rule)",
    "#bbbbbb": "var(--rule)",
    "#888888": "var(--muted)",
    "#9ecae1": "var(--half)",
}
_LINES = _PAGE | {colour: f"var(--c{index})" for index, colour in enumerate(COLOURS)}
_LETTERS = _PAGE | {
    shade(colour): f"var(--t{index})" for shade in (str, darker) for index, colour in enumerate(COLOURS)
}
_LEFT_OUT = ("font-family", "mix-blend-mode")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"#([\w.-]+)")
LONG = 400
"""Characters of a path from which a tenth of a point is as exact as its points are."""


def inline_svg(drawing: Drawing, label: str, described_by: str) -> Markup:
    """The SVG of a figure without its title, which stands above it on the page.

    Args:
        drawing: the figure, which is laid out for good. label: what a reader hears who cannot see it.
        described_by: id of the element with its caption.
    """
    with themed():
        if drawing.figure.get_layout_engine() is not None:
            freeze(drawing.figure)
        top = _without_title(drawing)
        stream = io.StringIO()
        drawing.figure.savefig(stream, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(stream.getvalue())
    width, height = (72 * inches for inches in drawing.figure.get_size_inches())
    _restyle(root, _used(root), drawing.name)
    attributes = {
        "viewBox": f"0 {top:.0f} {width:.0f} {height - top:.0f}",
        "class": "plot" if width > NARROW else "plot narrow",
        "role": "img",
        "aria-label": label,
        "aria-describedby": described_by,
    }
    root.attrib.clear()
    root.attrib.update(attributes)
    return Markup(ElementTree.tostring(root, encoding="unicode").replace(" />", "/>"))


NARROW = 560
"""Points of width up to which a figure may shrink to the width of a telephone."""


def _without_title(drawing: Drawing) -> float:
    """Take away the title that the page says above the figure; returns how much of its top is then empty."""
    title = _title(drawing.figure, drawing.heading)
    if title is None:
        return 0.0
    box = title.get_window_extent()
    title.set_visible(False)
    scale = 72 / drawing.figure.dpi
    return max(0.0, drawing.figure.get_figheight() * 72 - box.y0 * scale - 4)


def _title(figure: Figure, heading: str) -> Text | None:
    """The text of a figure that is its heading, where one is."""
    found = figure.findobj(Text)
    same = [text for text in found if " ".join(text.get_text().split()) == " ".join(heading.split())]
    return same[0] if same else None


def _used(root: ElementTree.Element) -> set[str]:
    """The ids that something in the figure refers to."""
    values = (value for element in root.iter() for value in element.attrib.values())
    return {found for value in values if "#" in value for found in _REFERENCE.findall(value)}


def _restyle(element: ElementTree.Element, used: set[str], name: str) -> None:
    """Attributes for styles, colours of the page, round numbers, ids of this figure alone; then its children."""
    element.tag = element.tag.removeprefix(_SVG)
    element.text, element.tail = _kept(element.text, element.tag), _kept(element.tail, element.tag)
    colours = _LETTERS if element.tag in ("text", "tspan") else _LINES
    old = dict(element.attrib)
    element.attrib.clear()
    for part in filter(None, (each.strip() for each in old.pop("style", "").split(";"))):
        key, _, value = part.partition(": ")
        if key not in _LEFT_OUT:
            element.set(key, colours.get(value, value))
    for key, value in old.items():
        if key == "id" and value not in used:
            continue
        if key == "transform" and value.startswith("rotate(-0 "):
            continue
        element.set(key.removeprefix(_XLINK), _attribute(key, value, used, name))
    children = [child for child in element if child.tag.removeprefix(_SVG) not in ("metadata", "style")]
    for child in list(element):
        element.remove(child)
    for child in children:
        _restyle(child, used, name)
        element.extend(list(child) if child.tag == "g" and not child.attrib else [child])


def _kept(text: str | None, tag: str) -> str | None:
    return text if text and (text.strip() or tag == "tspan") else None


def _attribute(key: str, value: str, used: set[str], name: str) -> str:
    if value.startswith("data:"):
        return value.replace("\n", "")
    if key == "id":
        return f"{name}-{value}"
    if key == "d":
        value = thinned(value)
    if "#" in value:
        return _REFERENCE.sub(lambda found: f"#{name}-{found[1]}" if found[1] in used else found[0], value)
    digits = 1 if len(value) > LONG else 2
    return _NUMBER.sub(lambda found: _round(found[0], digits), " ".join(value.split()))


def _round(number: str, digits: int) -> str:
    text = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
