"""Settings of Sphinx, which makes pages of docs/, README, results and docstrings: `make docs`.

Its source folder is the checkout, so that a relative link means the same in the pages and in the repository.
"""

import re
import subprocess
import sys
from typing import Any

from sphinx.application import Sphinx

import gradlab

project, author, version = "gradlab", "The gradlab authors", gradlab.__version__
html_title = f"gradlab {version}"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "results/*.md", "results/summaries/**.md"]
exclude_patterns = ["**/.*", "docs/_build", "results/runs", "results/sweeps", "results/report", "results/check"]
suppress_warnings = ["myst.header"]  # a claim's heading stands two levels below the page's

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False

html_theme = "furo"
html_copy_source = html_show_sourcelink = False
html_additional_pages = {"index": "start.html"}  # hosts look for it
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def command_reference() -> str:
    """Every command with usage, arguments, options and defaults, as typer writes it; examples as code."""
    words = [sys.executable, "-m", "typer", "gradlab.cli.app", "utils", "docs", "--name", "gradlab"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^# .*\n", "", text)
    text = re.sub(r"^gradlab .*$", r"```console\n$ \g<0>\n```", text, flags=re.MULTILINE)
    said = dict(re.findall(r"^## `gradlab (.+)`\n\n(.+)$", text, re.MULTILINE))
    listed = "\n".join(f"* [`{name}`](#gradlab-{name}): {summary}" for name, summary in said.items())
    return re.sub(r"(\*\*Commands\*\*:\n\n).*?(?=\n\n##)", lambda found: found[1] + listed, text, flags=re.DOTALL)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the commands to their page; a link to a folder of the checkout is text in the pages."""
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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _escape)
