"""`results/claims.md`: every claim with its verdict, what was expected and what was seen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradlab.report.page.render import put_page, render_markdown


def claims_page(records: Sequence[Mapping[str, Any]], tally: str) -> str:
    """The page, in Markdown; the same text from the same records."""
    return render_markdown("claims.md.j2", {"records": records, "tally": tally})


def write_claims_page(target: Path, records: Sequence[Mapping[str, Any]], tally: str) -> Path:
    """Write the page whole."""
    return put_page(target, claims_page(records, tally))


def verdict_lists(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """For the README: a line of a table for each verdict, with the claims that have it."""
    found: dict[str, list[str]] = {"holds": [], "fails": [], "undecided": [], "not run": []}
    for record in records:
        found[record["verdict"]].append(f"`{record['claim']}`")
    return [f"| {verdict} | {len(names)} | {', '.join(names)} |" for verdict, names in found.items() if names]
