"""A figure as SVG that stands inside a page: its colours are the page's, and nothing in it is a style."""

import re
import zlib
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gradlab.report.figures.drawing import COLOURS
from gradlab.report.figures.save import below_heading, vector
from gradlab.report.text.plain import public

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_COLOURS = {
    "#000000": "var(--ink)",
    "#262626": "var(--ink)",
    "#333333": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#e4e4e4": "var(--grid)",
    "#cccccc": "var(--rule)",
    "#bbbbbb": "var(--rule)",
    "#888888": "var(--muted)",
} | {colour: f"var(--c{index})" for index, colour in enumerate(COLOURS)}
_LEFT_OUT = ("font-family", "mix-blend-mode")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"#([\w.-]+)")
_STRETCH = re.compile(r"M([^Mz]+)(z?)")
_PART = re.compile(r"a\d+-s\d+-\w+")
"""Ids of lines, bands and legend entries."""
_LONG = 400
"""Characters of a path that is written in tenths of a point."""
NARROW = 560
"""Points of width up to which a figure may shrink to the width of a telephone."""


def svg(figure: Figure, name: str, label: str = "", described_by: str = "") -> Markup:
    """The SVG of a figure without its heading, which stands above it on the page.

    Args:
        figure: is laid out for good. name: prefix of all ids in it. label: its accessible name.
        described_by: id of the element with its caption.
    """
    root = ElementTree.fromstring(vector(figure))
    for group in list(root.iter(f"{_SVG}g")):
        for heading in [one for one in group if one.get("id") == "heading"]:
            group.remove(heading)
    top = below_heading(figure)
    width, height = (72 * inches for inches in figure.get_size_inches())
    values = (value for element in root.iter() for value in element.attrib.values() if "#" in value)
    _restyle(root, {found for value in values for found in _REFERENCE.findall(value)}, name)
    root.attrib.clear()
    root.set("viewBox", f"0 {top:.0f} {width:.0f} {height - top:.0f}")
    root.set("class", "plot" if width > NARROW else "plot narrow")
    root.set("role", "img")
    root.set("aria-label", public(label or name))
    if described_by:
        root.set("aria-describedby", described_by)
    return Markup(ElementTree.tostring(root, encoding="unicode").replace(" />", "/>"))


def _restyle(element: ElementTree.Element, used: set[str], name: str) -> None:
    """Attributes for styles, colours of the page, round numbers, ids of this figure alone; then its children."""
    element.tag = element.tag.removeprefix(_SVG)
    keeps_space = element.tag in ("text", "tspan")
    for part in ("text", "tail"):
        text = getattr(element, part)
        setattr(element, part, text if text and (text.strip() or keeps_space) else None)
    old = dict(element.attrib)
    element.attrib.clear()
    for part in filter(None, (each.strip() for each in old.pop("style", "").split(";"))):
        key, _, value = part.partition(": ")
        default = not value or (keeps_space and value == "#262626")  # no dashes, the style sheet's colour of text
        if key not in _LEFT_OUT and not default:
            element.set(key, _COLOURS.get(value, value))
    if element.get("stroke") == "var(--grid)":  # of many lines that end where the axes do
        old.pop("clip-path", None)
        element.attrib.pop("stroke-linecap", None)
    for key, value in old.items():
        if key == "id" and value not in used and not _PART.fullmatch(value):
            continue
        if key == "transform" and value.startswith("rotate(-0 "):
            continue
        element.set(key.removeprefix(_XLINK), _attribute(key, value, used, name))
    children = [child for child in element if child.tag.removeprefix(_SVG) not in ("metadata", "style")]
    for child in list(element):
        element.remove(child)
    for child in children:
        _restyle(child, used, name)
    if len(children) > 1 and {child.tag for child in children} == {"use"}:  # markers of one line
        shared = [key for key in children[0].attrib if len({child.get(key) for child in children}) == 1]
        for key in (key for key in shared if key not in ("href", "x", "y")):
            element.set(key, children[0].attrib[key])
            for child in children:
                del child.attrib[key]
    for child in children:
        element.extend(list(child) if child.tag == "g" and not child.attrib else [child])


def _attribute(key: str, value: str, used: set[str], name: str) -> str:
    if value.startswith("data:"):
        return value.replace("\n", "")
    short = f"i{zlib.crc32(name.encode()):x}-"  # ids of clips and markers are many
    if key == "id":
        return f"{name}-{value}" if _PART.fullmatch(value) else short + value
    if "#" in value:
        return _REFERENCE.sub(lambda found: f"#{short}{found[1]}" if found[1] in used else found[0], value)
    if key == "d" and len(value) > _LONG and not set("CQ") & set(value):
        return "".join(_steps(points) + end for points, end in _STRETCH.findall(value))
    return _NUMBER.sub(lambda found: _round(float(found[0]), 2), " ".join(value.split()))


def _steps(stretch: str) -> str:
    """A stretch of straight lines as its first point and the steps from there, in tenths of a point of paper."""
    points = np.round(np.array(stretch.replace("L", "").split(), np.float64).reshape(-1, 2), 1)
    (x, y), steps = points[0], np.diff(points, axis=0).ravel()
    return f"M{_round(x, 1)} {_round(y, 1)}l{' '.join(_round(step, 1) for step in steps)}"


def _round(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
