"""Pages from Jinja templates: one file each that loads nothing; its policy allows its style and script by hash."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markupsafe import Markup

from gradlab import __version__
from gradlab.errors import GradlabError
from gradlab.report.text.plain import markdown, public
from gradlab.runs.attempt import write_whole

PACKAGE = "gradlab.report.page"
_MARKDOWN = MarkdownIt("zero", {"html": False}).enable(["emphasis", "backticks", "list"])


def render(
    template: str,
    context: Mapping[str, Any],
    *,
    package: str = PACKAGE,
    styles: Sequence[str] = ("page.css",),
    scripts: Sequence[str] = ("page.js",),
    data: Mapping[str, Any] | None = None,
) -> str:
    """A whole page in one file.

    Args:
        template: extends `base.html.j2`. context: the variables of the template; text in them is escaped.
        package: where `templates/` and `assets/` are looked for first, before those of this package.
        styles, scripts: files of `assets/`, in order.
        data: what the scripts read, as JSON, by the id of its element.
    """
    style, script = ("\n".join(asset(name, package) for name in names) for names in (styles, scripts))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = {"policy": policy, "style": Markup(style), "script": Markup(script), "data": data or {}}
    return _html(package).get_template(template).render(context, page=page, version=__version__)


def render_markdown(template: str, context: Mapping[str, Any], *, package: str = PACKAGE) -> str:
    """The text of a Markdown template; its variables are text, which Markdown shows as it is."""
    text = _markdown(package).get_template(template).render(context, version=__version__)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def put_page(target: Path, text: str) -> Path:
    """Write a page whole or not at all.

    Raises:
        GradlabError: the file cannot be written.
    """
    if target.is_dir():
        raise GradlabError(f"the page cannot be written to {target}: it is a folder, give the name of a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, lambda file: file.write(text.encode("utf-8", "replace")))
    except OSError as error:
        raise GradlabError(f"the page cannot be written to {target}: {error.strerror}") from error
    return target


def asset(name: str, package: str = PACKAGE) -> str:
    """A file of `assets/`, of the given package or else of this one."""
    files = [resources.files(one) / "assets" / name for one in (package, PACKAGE)]
    return next(file for file in files if file.is_file()).read_text(encoding="utf-8").strip()


def blocks(text: str) -> Markup:
    """Paragraphs and lists of a text of gradlab's own, in which `**` and backquotes are marks."""
    return Markup(_MARKDOWN.render(text))


def tex(formula: str, display: str = "inline") -> Markup:
    """A formula in LaTeX as MathML; `display` is `inline` or `block`."""
    return Markup(convert(formula, display=display))


def table_row(cells: Iterable[object]) -> Markup:
    """A row of a Markdown table."""
    return Markup(f"| {' | '.join(markdown(str(cell), start=False) for cell in cells)} |")


def code_lines(lines: Iterable[str]) -> Markup:
    """Lines of a code block of Markdown."""
    return Markup("\n".join(public(line, "") for line in lines))


def _environment(package: str, shown: Callable[[str], str]) -> Environment:
    """Templates of a page; `shown` makes of every variable that is a text what the page shows."""

    def finalize(value: Any) -> Any:
        return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    loaders = [PackageLoader(one) for one in dict.fromkeys((package, PACKAGE))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=finalize,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.policies["json.dumps_function"] = lambda value, **options: json.dumps(_public(value), **options)
    environment.filters |= {
        "md_blocks": blocks,
        "tex": tex,
        "thousands": "{:,}".format,
        "row": table_row,
        "code": code_lines,
    }
    return environment


@cache
def _html(package: str) -> Environment:
    return _environment(package, public)


@cache
def _markdown(package: str) -> Environment:
    return _environment(package, lambda text: Markup(markdown(text)))


def _public(value: Any) -> Any:
    """Data for a script with every text in it as a page shows it."""
    if isinstance(value, Mapping):
        return {name: _public(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_public(item) for item in value]
    return public(value) if isinstance(value, str) else value


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
