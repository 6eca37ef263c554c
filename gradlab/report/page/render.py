"""Pages from Jinja templates: one file each that loads nothing; its policy allows its style and script by hash."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
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
    """The text of a Markdown template; a `<` in its variables is escaped, as names come from users."""
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


def inline(text: str) -> Markup:
    """A sentence in which `**` and backquotes mark what is strong and what is code; HTML in it is escaped."""
    return Markup(_MARKDOWN.renderInline(text))


def blocks(text: str) -> Markup:
    """Paragraphs and lists of such sentences."""
    return Markup(_MARKDOWN.render(text))


def tex(formula: str, display: str = "inline") -> Markup:
    """A formula in LaTeX as MathML; `display` is `inline` or `block`."""
    return Markup(convert(formula, display=display))


def table_cell(text: object) -> str:
    """Text for a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def _environment(package: str, **options: Any) -> Environment:
    loaders = [PackageLoader(one) for one in dict.fromkeys((package, PACKAGE))]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "md": inline,
        "md_blocks": blocks,
        "tex": tex,
        "thousands": "{:,}".format,
        "cell": table_cell,
    }
    return environment


@cache
def _html(package: str) -> Environment:
    return _environment(package, autoescape=True)


@cache
def _markdown(package: str) -> Environment:
    def escaped(value: Any) -> Any:
        return value.replace("<", "&lt;") if isinstance(value, str) else value

    return _environment(package, autoescape=False, finalize=escaped)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
