"""`gradlab claims`: what papers and tutorials claim, judged."""

from typing import Annotated

import typer

from gradlab.cli import options
from gradlab.cli.console import Screen
from gradlab.cli.options import Many
from gradlab.errors import GradlabError
from gradlab.runs.workers import start_early


def claims(
    names: Annotated[
        Many, typer.Argument(metavar="[NAME]...", help="Claims of experiments/claims/ (default: all).")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Do their runs and write tables, figures and page.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Measure probes afresh: are the verdicts those of the tables?")
    ] = False,
    jobs: options.Jobs = None,
    results: options.Results = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    log_file: options.LogFile = None,
) -> int:
    """Judge what papers and tutorials claim: does it hold?

    The exit code is 1 if a claim fails, 3 if one is undecided or was not run.

    gradlab claims

    gradlab claims --run lstm_vanishes
    """
    from gradlab.cli.claim_runs import check_claims, run_claims, show, write_page
    from gradlab.judge.claims.files import load_claims
    from gradlab.judge.claims.records import exit_code, judge_stored, record_of_claim
    from gradlab.judge.claims.tables import TABLES

    screen = Screen()
    asked = load_claims(names or ())
    if run and check:
        raise GradlabError("--run with --check: give one of them")
    if check:
        return check_claims(screen, asked, jobs, quiet=quiet)
    refused = []
    if run:
        start_early()
        refused = run_claims(screen, asked, options.open_store(results), TABLES, jobs, quiet=quiet)
        write_page(screen, asked)
    judged = judge_stored(asked)
    code = exit_code(judged) or (3 if refused else 0)  # a table from before does not make up for it
    if json:
        screen.json({"claims": [record_of_claim(one) for one in judged], "exit_code": code})
    else:
        show(screen, judged, detailed=bool(names))
    return code
