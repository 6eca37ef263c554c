"""What tests of the page share: the system's own Chromium, and a page that tells what it did."""

import importlib.util
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("GRADLAB_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HOW = (
    "`apt-get install chromium` (or GRADLAB_CHROMIUM=PATH) and `make setup`, then `make test` opens the pages too"
)


def needs_browser():
    """A mark that skips, and says what would have to be there."""
    missing = [] if CHROMIUM else ["no Chromium was found"]
    missing += [] if importlib.util.find_spec("playwright") else ["playwright is not installed"]
    return pytest.mark.skipif(bool(missing), reason=f"pages are not opened: {' and '.join(missing)}; {HOW}")


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page that was opened, with what it said and asked for."""

    def __init__(self, chromium, path, **context):
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}} | context)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(Path(path).resolve().as_uri())

    def __getattr__(self, name):
        return getattr(self.page, name)

    def foreign(self):
        """What it asked for beside itself."""
        return [url for url in self.asked[1:] if not url.startswith("data:")]

    def axe(self):
        """Faults that axe finds, as `rule: element`."""
        from axe_playwright_python.base import AXE_FILE_PATH

        self.page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]
