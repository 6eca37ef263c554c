"""What `gradlab claims` does: it runs claims, judges them and shows the verdicts."""

import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gradlab.cli.console import WIDE, Progress, Screen, counted
from gradlab.cli.planned import choices_of
from gradlab.cli.session import Session
from gradlab.errors import GradlabError, described
from gradlab.judge.claims.files import Claim, Fields, axes_of, load_claims
from gradlab.judge.claims.records import differences, judge_stored, record_of_claim, tally
from gradlab.judge.claims.tables import TABLES, measured_row, row_of, write_rows
from gradlab.judge.claims.verdicts import ClaimRow, JudgedClaim
from gradlab.runs.devices import parallelism
from gradlab.runs.grids import spec_of
from gradlab.runs.jobs import Settings
from gradlab.runs.spec import RunSpec
from gradlab.runs.store import Store
from gradlab.runs.tuning import TunedGroup, tuned_groups
from gradlab.runs.workers import start_early

COLUMNS = ("claim", "verdict", "seeds", "minutes", "sentence")
SEEDS = 8
"""Probes that one process does, at most."""
PAGE = Path("results/claims.md")


def show(screen: Screen, judged: Sequence[JudgedClaim], *, detailed: bool) -> None:
    """Each claim with its verdict; what it expects and what was seen if `detailed`."""
    rows = []
    for one in judged:
        minutes, stated = f"{one.seconds / 60:.2g}", one.claim.stated
        holds = one.verdict == "holds" or detailed or not stated.seen
        said = stated.claim if holds else f"{stated.claim} Seen: {' '.join(stated.seen.split())}"
        rows.append((one.claim.name, one.verdict, str(one.seeds), minutes if one.seconds else "", said))
    if screen.out.width < WIDE:
        for name, verdict, seeds, spent, said in rows:
            took = f", {spent} minutes" if spent else ""
            screen.line(f"{name}: {verdict} ({counted(int(seeds), 'seed')}{took})", "bold")
            for line in textwrap.wrap(said, screen.out.width - 4):
                screen.line(f"    {line}")
    else:
        screen.table(COLUMNS, rows, right=("seeds", "minutes"), fold=("sentence",))
    screen.line()
    for one in judged if detailed else ():
        record = record_of_claim(one)
        screen.heading(f"{record['claim']} ({record['source']}): {record['verdict']}")
        lines = [
            (each["verdict"], each["says"], each["setting"], each["expected"], each["observed"])
            for each in record["expectations"]
        ]
        screen.table(("verdict", "what", "setting", "expected", "observed"), lines, fold=("what", "expected"))
        if record["seen"]:
            screen.prose(f"Seen: {record['seen']}")
        screen.line()
    screen.line(tally(judged), "bold")
    missing = [one.claim for one in judged if one.verdict == "not run"]
    expected = sum(claim.stated.minutes for claim in missing)
    if missing:
        listed = " ".join(claim.name for claim in missing[:3]) + (" ..." if len(missing) > 3 else "")
        screen.line(f"next: gradlab claims --run {listed} ({expected:.0f} minutes in all on two cores)")
    else:
        screen.line("next: gradlab claims NAME shows what a claim expects and what was seen")


def run_claims(
    screen: Screen, asked: Sequence[Claim], store: Store, tables: Path, jobs: int | None, *, quiet: bool
) -> list[str]:
    """Do the runs of claims and write their tables; those that cannot be run are warned about and returned."""
    refused: list[str] = []

    def carry_out(specs: Iterable[RunSpec]) -> None:
        every = {spec.id: spec for spec in specs}.values()
        # The seeds of a probe share a process and its programs, which are most of its cost.
        for together, trained in ((SEEDS, False), (None, True)):
            if part := [spec for spec in every if bool(spec.steps) == trained]:
                settings = Settings(**parallelism(jobs, together))
                Session(screen, store, part, settings, quiet=quiet, each=False).carry_out()

    runs: dict[str, list[tuple[Fields, RunSpec]]] = {}
    groups: dict[str, list[TunedGroup]] = {}
    for claim in asked:
        with _warned(screen, claim, refused):
            if claim.tuned:
                groups[claim.name] = tuned_groups(claim.path, axes_of(claim.path, claim.sweep))
            elif claim.stated.measure is None:
                runs[claim.name] = [(point, spec_of(point)) for point in claim.points]
    carry_out(spec for found in groups.values() for group in found for spec in group.trials)
    for claim in asked:
        with _warned(screen, claim, refused):
            if claim.name in groups:
                runs[claim.name] = _chosen(store, groups[claim.name])
    carry_out(spec for pairs in runs.values() for _, spec in pairs)
    with Progress(screen) as live:
        for claim in asked:
            with _warned(screen, claim, refused):
                rows = (
                    _measured(claim, live.show)
                    if claim.stated.measure
                    else _stored(store, claim, runs.get(claim.name, []))
                )
                if rows:
                    write_rows(tables / f"{claim.name}.csv", rows)
    return refused


def _chosen(store: Store, groups: Sequence[TunedGroup]) -> list[tuple[Fields, RunSpec]]:
    """The runs that count, with what the trials chose."""
    pairs: list[tuple[Fields, RunSpec]] = []
    for group, choice in zip(groups, choices_of(store, groups), strict=True):
        if choice is None:
            raise GradlabError("some of its trials did not end, so that nothing can be chosen")
        points = [group.point | {"seed": seed} for seed in group.seeds]
        pairs += zip(points, group.specs(choice.values), strict=True)
    return pairs


def _stored(store: Store, claim: Claim, runs: Sequence[tuple[Fields, RunSpec]]) -> list[ClaimRow]:
    """The numbers of those runs that ended."""
    found = [(point, store.completed(spec.id, spec.config())) for point, spec in runs]
    return [row_of(claim, point, run) for point, run in found if run is not None]


def _measured(claim: Claim, show: Callable[[str], None]) -> list[ClaimRow]:
    """What the function of a claim returns for each point of its grid."""
    from gradlab.runs.cache import use_cache
    from gradlab.runs.sources import load

    file, _, name = str(claim.stated.measure).partition(":")
    module, _ = load(str(claim.path.parent / file))
    function = getattr(module, name, None)
    if function is None:
        raise GradlabError(f"{claim.path}: {file} has no {name}")
    use_cache()
    rows = []
    for count, point in enumerate(claim.points):
        show(f"{claim.name}: {count} of {len(claim.points)}")
        started = time.perf_counter()
        found = function(**point)
        rows.append(measured_row(claim, point, found, time.perf_counter() - started))
    return rows


@contextmanager
def _warned(screen: Screen, claim: Claim, refused: list[str]) -> Iterator[None]:
    """What is wrong with one claim stops no other."""
    try:
        yield
    except Exception as error:  # the function of a claim may raise anything
        text = str(error) if isinstance(error, GradlabError) else described(error)
        screen.warn(f"claim {claim.name} was not run: {text}")
        refused.append(claim.name)


def check_claims(screen: Screen, asked: Sequence[Claim], jobs: int | None, *, quiet: bool) -> int:
    """Judge the claims that need no training afresh, and compare with the committed tables."""
    quick = [claim for claim in asked if claim.is_quick]
    if not quick:
        raise GradlabError("--check: these claims need training or time, gradlab claims --run NAME does them")
    start_early()
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "claims"
        run_claims(screen, quick, Store(folder), tables, jobs, quiet=quiet)
        fresh = judge_stored(quick, tables)
    changed = differences(judge_stored(quick), fresh)
    for line in changed:
        screen.line(line)
    outcome = f"{len(changed)} differ from" if changed else "the verdicts are those of"
    screen.line(f"judged afresh, {tally(fresh)}; {outcome} {TABLES}/", "bold red" if changed else "bold")
    return 1 if changed else 0


def write_page(screen: Screen, asked: Sequence[Claim]) -> None:
    """The figures of the claims that were run, and the page of all."""
    from gradlab.report.figures.claims import save_claim_figure
    from gradlab.report.page.claims import write_claims_page

    for one in judge_stored(asked):
        if one.seconds:
            save_claim_figure(record_of_claim(one), TABLES)
    judged = judge_stored(load_claims())
    write_claims_page(PAGE, [record_of_claim(one) for one in judged], tally(judged))
    screen.note(f"written: {TABLES}/, {PAGE}")
