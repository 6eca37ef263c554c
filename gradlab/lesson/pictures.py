"""A picture of lines in decades with its legend and caption, and the table behind it."""

from collections.abc import Sequence

import numpy as np

from gradlab.lesson.words import signed
from gradlab.report.data.gaps import view
from gradlab.report.figures.chart import NOISE, Frame, Level, Line, chart, legend, parted
from gradlab.report.page.html import Markup, table, tag


def decades_chart(
    name: str, lines: Sequence[Line], x_name: str, y_name: str, said: str, levels: Sequence[Level] = ()
) -> Markup:
    """Lines over lag or timestep with a frame that holds them all, a legend and a caption."""
    parts = parted(lines)
    sure, unsure = (
        np.concatenate([line.y for line in parts if (line.name == NOISE) == wanted] + [np.zeros(1)])
        for wanted in (False, True)
    )
    low, high = view(sure, unsure)
    pad = 0.05 * max(high - low, 1.0)
    ends = max(float(line.x.max()) for line in lines)
    frame = Frame((0, ends), (round(low - pad, 1), round(high + pad, 1)), x_name, y_name, height=320)
    picture = chart(name, frame, lines, said, levels=levels)
    return tag("figure", picture, legend(key(lines)), tag("figcaption", said))


def key(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Name and look of each line, and of the noise where there is any."""
    return list(dict.fromkeys((line.name, line.look) for line in parted(lines)))


def behind(lines: Sequence[Line], x_name: str, caption: str) -> Markup:
    """The table behind a picture: some points of every line."""
    longest = max((line.x for line in lines), key=len)
    at = longest[sorted({round(index) for index in np.linspace(0, len(longest) - 1, min(8, len(longest)))})]
    rows = []
    for line in lines:
        found = {float(x): float(y) for x, y in zip(line.x, line.y, strict=True)}
        rows.append([line.name, *(signed(found[float(x)], 2) if float(x) in found else "" for x in at)])
    columns = ["line", *(f"{x:g}" for x in at)]
    return tag(
        "details",
        tag("summary", "This picture as a table"),
        table(columns, rows, caption=f"{caption}, at {x_name}", right=columns[1:]),
    )
