"""Settings of Sphinx, which makes pages of docs/, README, results and docstrings: `make docs`.

Its source folder is the checkout, so that a relative link means the same in the pages and in the repository.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import gradlab

project, author, version = "gradlab", "The gradlab authors", gradlab.__version__
html_title = f"gradlab {version}"
root_doc = "docs/index"
INDEX = Path(__file__).with_name("index.md")
"""Names every page, of results those that are committed."""
include_patterns = ["docs/**.md", *re.findall(r"\]\(\.\./(.+?\.md)\)", INDEX.read_text(encoding="utf-8"))]
exclude_patterns = ["**/.*", "docs/_build", "results/runs", "results/sweeps", "results/report", "results/check"]
suppress_warnings = ["myst.header"]  # a claim's heading stands two levels below the page's

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
default_role, highlight_language, smartquotes = "code", "none", False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_ivar, napoleon_use_rtype, napoleon_attr_annotations = True, False, False

html_theme = "furo"
html_copy_source = html_show_sourcelink = False
html_additional_pages = {"index": "start.html"}  # hosts look for it
templates_path = ["_templates"]


def command_reference() -> str:
    """Every command with usage, arguments, options and defaults, as typer writes it; examples as code."""
    words = [sys.executable, "-m", "typer", "gradlab.cli.app", "utils", "docs", "--name", "gradlab"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^# .*\n", "", text)
    text = re.sub(r"^(Start with: )?(gradlab .*)$", r"\1\n```\n\2\n```", text, flags=re.MULTILINE)
    text = text.replace("```console\n$ ", "```\n")
    said = dict(re.findall(r"^## `gradlab (.+)`\n\n(.+)$", text, re.MULTILINE))
    listed = "\n".join(f"* [`{name}`](#gradlab-{name}): {summary}" for name, summary in said.items())
    return re.sub(r"(\*\*Commands\*\*:\n\n).*?(?=\n\n##)", lambda found: found[1] + listed, text, flags=re.DOTALL)


def contents(index: str) -> str:
    """The links of each section of docs/index.md as tables of contents, which stand beside every page."""
    text = ""
    for caption, section in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", index, re.DOTALL | re.MULTILINE):
        links = re.findall(r"^- \[(.+?)\]\((.+?)\.md\)", section, re.MULTILINE)
        entries = "\n".join(f"{title} <{page}>" for title, page in links)
        text += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```"
    return text


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """Add what is made for a page; a link to a folder of the checkout is text in the pages."""
    if name == root_doc:
        source[0] += contents(source[0])
    if name == "docs/reference/commands":
        source[0] += command_reference()
    here = (app.srcdir / name).parent
    source[0] = re.sub(
        r"\[([^][]+)\]\(([.\w/]+)\)",
        lambda link: f"`{link[1]}`" if (here / link[2]).is_dir() else link[0],
        source[0],
    )


def _escape(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings write |x| for a norm, which reStructuredText takes for a substitution."""
    lines[:] = [re.sub(r"(?<!`)\|(?!`)", r"\\|", line) if ">>>" not in line else line for line in lines]


def _skip(app: Sphinx, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple, of which Python says their number alone."""
    return True if str(thing.__doc__).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _escape)
    app.connect("autodoc-skip-member", _skip)
