"""What `make docs` makes: no page is left out, every command is described, and nothing comes from elsewhere."""

import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer

import gradlab
from gradlab.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def parameters():
    """Every command, and every argument and option of it."""
    group = typer.main.get_command(app)
    for name, command in {"gradlab": group, **group.commands}.items():
        yield from ((name, command, parameter) for parameter in command.params)


def test_every_command_and_option_is_described():
    found = list(parameters())
    assert len(found) > 150 and len({name for name, *_ in found}) > 20
    for name, command, parameter in found:
        assert command.help and re.search(r"[.?]$", command.help.split("\n\n")[0]), f"gradlab {name}"
        assert parameter.help, f"gradlab {name} {parameter.name}"


def test_the_reference_has_every_command_and_option():
    text = runpy.run_path(str(DOCS / "conf.py"))["command_reference"]()
    parts = dict(re.findall(r"^## `gradlab ([\w-]+)`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    for name, _, parameter in parameters():
        part = parts.get(name, text)
        for option in parameter.opts if parameter.param_type_name == "option" else []:
            assert re.search(rf"^\* `.*{option}\b.*`: .{{4}}", part, re.MULTILINE), f"gradlab {name} {option}"
    assert "..." not in re.search(r"\*\*Commands\*\*(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]


def test_every_page_is_in_the_table_of_contents():
    text = runpy.run_path(str(DOCS / "conf.py"))["contents"]((DOCS / "index.md").read_text())
    entries = re.findall(r"^.+ <(.+)>$", text, re.MULTILINE)
    listed = {(DOCS / f"{entry}.md").resolve() for entry in entries}
    assert len(listed) == len(entries) and all(page.exists() for page in listed)
    pages = {*DOCS.glob("*.md"), *DOCS.glob("[!_]*/*.md"), ROOT / "README.md", ROOT / "results" / "claims.md"}
    assert pages - listed == {DOCS / "index.md"}


class Page(HTMLParser):
    """Links, what is loaded, and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.anchors |= {named["id"]} if "id" in named else set()
        self.loads += [named[key] for key in ("src", "srcset", "data", "poster") if named.get(key)]
        if "href" in named:
            (self.links if tag == "a" else self.loads).append(named["href"])


@pytest.mark.slow
def test_the_pages_are_whole_and_need_no_network(tmp_path):
    words = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", "docs", ".", tmp_path]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = {path: Page(path) for path in tmp_path.rglob("*.html") if "_static" not in path.parts}
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto") and link not in page.loads:
                continue
            assert not (parts.scheme.startswith("http") or parts.netloc), f"{path}: {link} is loaded"
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            assert parts.scheme == "data" or target.exists(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {link}"
    for file in (*tmp_path.rglob("*.css"), *tmp_path.rglob("*.svg")):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", file.read_text()), file
    names = {f"gradlab.{name}" for name in gradlab.__all__} | {"gradlab.testing.assert_curve"}
    assert names <= pages[tmp_path / "docs/reference/python.html"].anchors
    assert "README.html" in (tmp_path / "docs/own-cell.html").read_text()
