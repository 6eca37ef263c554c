"""Pieces of the page that scripts bring to life: choosing curves and maps, copying a command, long tables."""

import re
from collections.abc import Sequence

from gradlab.report.figures.embed import Framed
from gradlab.report.page.html import Markup, command_block, scroll, tag

LONG = 30
"""A table with more rows stands in a box with a height of its own."""
_CHOICES = (
    ("task", "Task"),
    ("length", "Length T"),
    ("setting", "Cell"),
    ("seed", "Seed"),
    ("when", "Checkpoint"),
    ("leaf", "Gradient of"),
)


def choosing(said: str) -> Markup:
    """The box in which a reader chooses runs; hidden until its script runs.

    Args:
        said: which runs and lags it holds.
    """
    axis = tag("option", "lag", value="lag"), tag("option", "timestep", value="timestep")
    selects = [tag("label", name, tag("select", data_choose=field)) for field, name in _CHOICES]
    selects.append(tag("label", "Axis", tag("select", *axis, data_choose="axis")))
    chart = {
        "viewBox": "0 0 760 400",
        "class": "chart",
        "data-chart": True,
        "role": "application",
        "tabindex": "0",
    }
    chart["aria-label"], chart["aria-describedby"] = "Curves of the chosen runs", "explore-keys"
    keys = "Press a name or a line to highlight it. Arrow keys on the chart: left and right go along a curve, "
    keys += "up and down to the next, Escape to none."
    return tag(
        "div",
        tag("h3", "Choose runs", id="explore-heading"),
        tag("div", *selects, class_="choosing"),
        tag("div", tag("svg", **chart), class_="scroll"),
        tag("p", class_="readout", data_readout=True, aria_live="polite"),
        tag("div", class_="key", data_key=True, role="group", aria_label="Curves; press one to highlight it"),
        tag("p", f"{keys} Held here: {said}", id="explore-keys", class_="small muted"),
        command_block("explore-command", "", "Command that makes the highlighted run"),
        id="explore",
        class_="js",
        hidden=True,
    )


def map_choice() -> Markup:
    """The map of the run that is highlighted above; hidden until there is one."""
    svg = tag("svg", class_="chart", data_map=True, role="img", aria_label="Map of the highlighted run")
    return tag(
        "div",
        tag("h3", "The run that is highlighted above"),
        scroll(svg, "Map of the highlighted run"),
        tag("p", class_="readout", data_map_said=True),
        id="explore-map",
        hidden=True,
    )


def folded(figures: Sequence[Framed]) -> list[Markup]:
    """Figures under their headings: the first of each kind and task open, other lengths and runs closed."""
    parts, seen = [], set()
    for one in figures:
        kind = re.sub(r"-T\d+.*$", "", one.name)
        kind = kind.partition("-")[0] if kind.startswith(("map", "every", "leaves", "kinds", "gates")) else kind
        heading = tag("h3", one.heading)
        if kind in seen:
            parts.append(tag("details", tag("summary", heading), one.markup, class_="more"))
        else:
            parts += [heading, one.markup]
        seen.add(kind)
    return parts


def long_table(body: Markup, rows: int) -> Markup:
    """A table, in a box with a height where it would fill screens."""
    return Markup(body.replace('class="scroll"', 'class="scroll long-table"', 1)) if rows > LONG else body
