"""A page in one file: tags that escape what they are given, and a document that asks nothing of a network."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

_VOID = ("br", "hr", "img", "input", "link", "meta")
_NAME = re.compile(r"[A-Za-z][\w:-]*")
_STRONG, _CODE = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"`(.+?)`")


class Markup(str):
    """Text that is HTML already; any other string is escaped where it enters a tag."""


def escape(value: object) -> Markup:
    """The only place where text becomes HTML.

    Example:
        >>> escape('<b>"&"</b>'), escape(Markup("<b>"))
        ('&lt;b&gt;&quot;&amp;&quot;&lt;/b&gt;', '<b>')
    """
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """One element; children and the values of attributes are escaped unless they are `Markup`.

    Args:
        element: its name. children: what stands in it; None is left out.
        attributes: `class_` is written `class`, `data_x` is written `data-x`; True gives an attribute without a
            value, None and False give none.

    Raises:
        ValueError: an attribute that the page's policy forbids, `style` or one that is a handler.

    Example:
        >>> tag("a", "a < b", href="#x", class_="one", hidden=False)
        '<a href="#x" class="one">a &lt; b</a>'
    """
    written = []
    for key, value in attributes.items():
        word = key.rstrip("_").replace("_", "-")
        if not _NAME.fullmatch(word) or word == "style" or word.startswith("on"):
            raise ValueError(f"attribute {word} is not allowed on a page")
        if value is True:
            written.append(f" {word}")
        elif value is not None and value is not False:
            written.append(f' {word}="{html.escape(str(value))}"')
    start = f"<{element}{''.join(written)}>"
    return Markup(start if element in _VOID else f"{start}{join(children)}</{element}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other, each escaped unless it is `Markup`."""
    return Markup(between.join(escape(part) for part in parts if part is not None))


def prose(text: str) -> Markup:
    """A sentence of the report, in which `**` and backquotes mark what is strong and what is code.

    Example:
        >>> prose("**LSTM** on `a<b`")
        '<strong>LSTM</strong> on <code>a&lt;b</code>'
    """
    marked = _STRONG.sub(r"<strong>\1</strong>", escape(text))
    return Markup(_CODE.sub(r"<code>\1</code>", marked))


def blocks(text: str) -> Markup:
    r"""Paragraphs and lists of the report's sentences.

    Example:
        >>> blocks("Some:\n\n- **one**\n- two\n  lines")
        '<p>Some:</p><ul><li><strong>one</strong></li><li>two lines</li></ul>'
    """
    return join(_block(block) for block in text.strip().split("\n\n"))


def _block(text: str) -> Markup:
    if not text.startswith("- "):
        return tag("p", prose(" ".join(text.split())))
    return tag("ul", *(tag("li", prose(" ".join(item.split()))) for item in text[2:].split("\n- ")))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: object,
    right: Iterable[str] = (),
    words: Iterable[str] = (),
    **attributes: object,
) -> Markup:
    """A table whose first column heads its rows, in a box of its own that scrolls where the page is narrow.

    Args:
        columns: headings. rows: cells. caption: what the table is.
        right: columns that are aligned to the right. words: columns that are sorted as words even if they
            have numbers in them. attributes: of the table; `data_sortable` lets its headings sort it.
    """
    spoken = set(words)
    flush = ["number" if column in set(right) else None for column in columns]
    head = join(
        tag("th", name, scope="col", class_=side, data_words=name in spoken)
        for name, side in zip(columns, flush, strict=True)
    )
    body = join(_row(cells, flush) for cells in rows)
    inside = (tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return scroll(tag("table", *inside, **attributes), html.unescape(re.sub("<[^>]+>", "", escape(caption))))


def _row(cells: Sequence[object], flush: Sequence[str | None]) -> Markup:
    first, *rest = cells
    head = tag("th", first, scope="row", class_=flush[0])
    return tag("tr", head, *(tag("td", cell, class_=side) for cell, side in zip(rest, flush[1:], strict=True)))


def scroll(inside: Markup, label: str) -> Markup:
    """A box that scrolls sideways by pointer and by keyboard."""
    return tag("div", inside, class_="scroll", tabindex="0", role="group", aria_label=label)


def section(name: str, heading: object, *children: object, **attributes: object) -> Markup:
    """A section with its heading, which names it as a landmark."""
    head = tag("h2", heading, id=f"{name}-heading")
    return tag("section", head, *children, id=name, aria_labelledby=f"{name}-heading", **attributes)


def command_block(name: str, text: str, about: str | None = None) -> Markup:
    """Commands with a button that copies them."""
    button = tag("button", "Copy", type="button", class_="js", hidden=True, data_copy=name)
    block = tag("pre", tag("code", text, id=name), tabindex="0", role="group", aria_label=about or "Commands")
    return tag(
        "div",
        tag("p", about, class_="small muted") if about else None,
        tag("div", block, button, class_="command"),
    )


def document(
    title: str,
    body: Markup,
    *,
    styles: Sequence[str] = ("page.css",),
    scripts: Sequence[str] = ("page.js",),
    data: Mapping[str, Any] | None = None,
) -> str:
    """A whole page in one file, which may load nothing: its policy names its own style and script by their hashes.

    Args:
        title: of the window. body: header, main and footer.
        styles, scripts: files of `assets/`, in order. data: what the scripts read, by the id of its element.
    """
    style, script = "\n".join(map(asset, styles)), "\n".join(map(asset, scripts))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="generator", content="gradlab"),
            tag("title", title),
            tag("link", rel="icon", href="data:,"),
            tag("style", Markup(style)),
        ),
        "\n",
    )
    blocks = [
        tag("script", _json(value), type="application/json", id=name) for name, value in (data or {}).items()
    ]
    code = tag("script", Markup(script))
    page = tag("html", tag("head", head), "\n", tag("body", body, *blocks, code), lang="en")
    return f"<!doctype html>\n{page}\n"


def asset(name: str) -> str:
    """A file of `assets/`, as text."""
    return (resources.files("gradlab.report.page") / "assets" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
