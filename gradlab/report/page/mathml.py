"""Equations as MathML from a plain line of text: `h_t = tanh ( W_h h_{t-1} + b )`. Needs no library."""

import re
from collections.abc import Iterable, Sequence

from gradlab.report.page.html import Markup, tag

_OPERATORS = frozenset("=+-−·⊙()[],|…∏×≤≈<>∂")
_PART = re.compile(r"(?P<base>[^_^]+)(?:_(?P<sub>\{[^}]*\}|[^_^{}]+))?(?:\^(?P<sup>\{[^}]*\}|[^_^{}]+))?")
_SIGN = re.compile(r"([-+])")
_TOKEN = re.compile(r"(?:[^\s{}]|\{[^}]*\})+")


def math(text: str, *, block: bool = False) -> Markup:
    """One formula; what is separated by spaces is one symbol, with `_` and `^` below and above it.

    Args:
        text: symbols, `a/b` being a fraction, and a group such as `{t - 1}` standing for one symbol.
        block: on a line of its own.

    Raises:
        ValueError: a symbol that cannot be read.

    Example:
        >>> math("h_t")
        '<math><msub><mi>h</mi><mi>t</mi></msub></math>'
    """
    return tag("math", *_row(text), display="block" if block else None)


def _row(text: str) -> list[Markup]:
    return [_token(token) for token in _TOKEN.findall(text)]


def _token(token: str) -> Markup:
    over, slash, under = token.partition("/")
    if slash and over and under:
        return tag("mfrac", _group(over), _group(under))
    return _scripted(token)


def _group(text: str) -> Markup:
    grouped = text.startswith("{") and text.endswith("}")
    # Inside a group signs need no spaces: {T-k+1}.
    parts = _row(_SIGN.sub(r" \1 ", text[1:-1]) if grouped else text)
    return parts[0] if len(parts) == 1 else tag("mrow", *parts)


def _scripted(token: str) -> Markup:
    if token.startswith("∂") and len(token) > 1:
        return tag("mrow", _atom("∂"), _scripted(token[1:]))
    if token.startswith("{"):
        return _group(token)
    found = _PART.fullmatch(token)
    if found is None:
        raise ValueError(f"`{token}` is no symbol")
    base, below, above = _atom(found["base"]), found["sub"], found["sup"]
    if below and above:
        return tag("msubsup", base, _group(below), _group(above))
    if below or above:
        return tag("msub" if below else "msup", base, _group(below or above))
    return base


def _atom(text: str) -> Markup:
    if text in _OPERATORS:
        return tag("mo", "−" if text == "-" else text)
    return tag("mn" if re.fullmatch(r"[−-]?[\d.,]+", text) else "mi", text)


def matrix(rows: Iterable[Sequence[str]]) -> Markup:
    """Numbers in brackets, which the style sheet draws: not every font of a reader has tall ones.

    Example:
        >>> matrix([["1", "0"]])
        '<mtable class="matrix"><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr></mtable>'
    """
    return tag(
        "mtable", *(tag("mtr", *(tag("mtd", tag("mn", cell)) for cell in row)) for row in rows), class_="matrix"
    )


def formula(*parts: Markup) -> Markup:
    """MathML made of parts such as `matrix` gives."""
    return tag("math", *parts)
