"""What is committed of claims: every file loads, the page and the README are what the tables say."""

from pathlib import Path

import pytest

from gradlab.judge.claims.files import load_claims
from gradlab.judge.claims.records import judge_stored, record_of_claim, tally
from gradlab.report.page.claims import claims_page, verdict_lists

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judged():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return judge_stored(load_claims())


def test_the_page_is_what_the_tables_say(judged):
    page = claims_page([record_of_claim(one) for one in judged], tally(judged))
    assert (ROOT / "results/claims.md").read_text() == page, "make it again: gradlab claims --run NAME"


def test_the_readme_shows_the_verdicts(judged):
    text = (ROOT / "README.md").read_text()
    for line in verdict_lists([record_of_claim(one) for one in judged]):
        assert line in text, f"README.md lacks: {line}"


def test_every_claim_that_needs_no_training_was_run(judged):
    assert [one.claim.name for one in judged if one.claim.is_quick and one.verdict == "not run"] == []


def test_a_claim_that_fails_says_what_was_seen(judged):
    silent = [
        one.claim.name for one in judged if one.verdict in ("fails", "undecided") and not one.claim.stated.seen
    ]
    assert silent == []


def test_every_table_and_figure_is_of_a_claim_and_small(judged):
    names = {one.claim.name for one in judged}
    for path in (ROOT / "results/claims").iterdir():
        assert path.stem in names and path.suffix in (".csv", ".svg"), path
        assert path.stat().st_size < 100_000, path
    run = {one.claim.name for one in judged if one.seconds}
    assert run == {path.stem for path in (ROOT / "results/claims").glob("*.csv")}


def test_the_example_of_the_documentation_is_a_claim(tmp_path):
    from gradlab.judge.claims.files import load_claim

    text = (ROOT / "docs/claims.md").read_text()
    (tmp_path / "example.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    assert load_claim(tmp_path / "example.toml").is_quick
