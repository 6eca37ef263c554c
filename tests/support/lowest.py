"""The oldest versions that pyproject.toml allows, as constraints for pip: `python tests/support/lowest.py`."""

import re
import tomllib
from pathlib import Path


def lowest(project):
    """A line `name==version` for each requirement of the package and of what its extras but `torch` want."""
    extras = [
        text for name, texts in project["optional-dependencies"].items() if name != "torch" for text in texts
    ]
    pairs = [re.match(r"([\w-]+)>=([\d.]+)", text) for text in (*project["dependencies"], *extras)]
    return [f"{pair[1]}=={pair[2]}" for pair in pairs if pair]


if __name__ == "__main__":
    with Path(__file__).parents[2].joinpath("pyproject.toml").open("rb") as file:
        print("\n".join(lowest(tomllib.load(file)["project"])))
