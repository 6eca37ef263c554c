"""Make the pictures of the README from a real run: `make pictures`.

Trains as `gradlab run adding --len 200 --cell lstm` does, records the terminal as an SVG, writes the report, and
copies its figure of the gradient by lag.
"""

import re
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path

from rich.console import Console

from gradlab.cli.console import Screen
from gradlab.cli.run import carry_out
from gradlab.report.page.write import write_report
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store

DOCS = Path(__file__).parent.resolve()


def main() -> None:
    """Run, record, and write `run.svg` and `gradient.svg` beside this file."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        store = Store()
        console = Console(record=True, width=124, force_terminal=True, highlight=False)
        console.print("$ gradlab run adding --len 200 --cell lstm")
        screen = Screen(out=console, err=Console(quiet=True))
        carry_out(store, [RunSpec()], None, None, rerun=False, json=False, quiet=True, screen=screen)
        picture = console.export_svg(title="gradlab", unique_id="gradlab")
        picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # they name files of the web
        (DOCS / "run.svg").write_text(picture)
        written = write_report(store.root, print)
        figure = next(path for path in written if path.name.startswith("lag-") and path.suffix == ".svg")
        shutil.copyfile(figure, DOCS / "gradient.svg")


if __name__ == "__main__":
    main()
