"""``poplab``: run scenarios, check them, print their schema; ``poplab edge`` runs a PoP on its own."""

from __future__ import annotations

import json as json_format
import logging
import os
import shlex
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, cast

import click
import structlog
from rich.console import Console

from connectors.cli import client, connector
from edge.cli import ErrorsInWords, edge
from edge.config import counted
from edge.errors import FabricUnavailable, PoplabError, Refused
from scenarios import batch, determinism, doctor, report, schema
from scenarios.fabric import FABRICS
from scenarios.fuzz import planted
from scenarios.fuzz.cli import fuzz
from scenarios.live import LiveScreen, PlainLines, Stdout, findings, observer, show_comparisons
from scenarios.paths.cli import paths
from scenarios.paths.survey import advice
from scenarios.report import ComparisonRecord, RunRecord, State
from scenarios.scratch import sweep
from scenarios.trace.cli import trace as trace_command
from scenarios.up.cli import up

LIBRARY = Path(__file__).parent / "library"
FIRST_LESSON = "01-softphone-call.yaml"

PASSED, FAILED, INTERNAL, INTERRUPTED = 0, 1, 4, 130
"""Exit codes beside those of PoplabError; 130 is what shells expect after Ctrl-C."""

URGENT = (
    (State.ERROR, INTERNAL),
    (State.FAILED, FAILED),
    (State.INTERRUPTED, INTERRUPTED),
    (State.UNAVAILABLE, FabricUnavailable.exit_code),
)
"""What makes the exit code of several runs, the most urgent first."""

files_argument = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(readable=False, path_type=Path)
)


@click.group(cls=ErrorsInWords)
@click.version_option(package_name="poplab")
def poplab() -> None:
    """The any-to-any network on your own machine."""


poplab.add_command(edge, "edge")
poplab.add_command(connector, "connector")
poplab.add_command(client, "client")
poplab.add_command(trace_command, "trace")
poplab.add_command(fuzz, "fuzz")
poplab.add_command(paths)
poplab.add_command(up)


@poplab.command()
@files_argument
@click.option(
    "--fabric",
    metavar="NAME[,NAME...]",
    default=None,
    help=f"Where: {', '.join(sorted(FABRICS))}; the file's first if left out. On several, such as sim,loopback, each "
    "FILE runs on all of them, and whatever is not the same there is a difference.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="Instead of the seed in the file."
)
@click.option(
    "--set",
    "chosen",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only these cells of the matrix; or tunnel=masque (wireguard, auto) instead of the file's top-level `tunnel`, "
    "for connectors and clients that name no kind themselves.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1000),
    default=None,
    help="Runs at once. If left out: as many as cores, on real clocks half as many, and load or limits of time alone.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the reports.")
@click.option("--json", is_flag=True, help="Print the results as JSON, and nothing else, on stdout.")
@click.option("--trace", is_flag=True, help="Write trace.msgpack too, for `poplab trace`.")
@click.option("--check-determinism", is_flag=True, help="Run twice in virtual time and compare every event.")
@click.pass_context
def run(
    context: click.Context,
    files: tuple[Path, ...],
    fabric: str | None,
    seed: int | None,
    chosen: tuple[str, ...],
    jobs: int | None,
    out: Path | None,
    json: bool,
    trace: bool,
    check_determinism: bool,
) -> None:
    """Run each FILE, a scenario or a folder of them, and judge it.

    Several runs, be they files or cells of a matrix, run in processes of their own.

    Exit codes: 0 passed, 1 an expectation, invariant or threshold failed, or fabrics differ, 2 a bad file or wrong
    usage, 3 the fabric is not available here, 4 an error of poplab itself, 5 not deterministic, 130 interrupted.
    """
    _quiet_logs()
    if trace and out is None:
        raise Refused("--trace writes a file: add --out DIR")
    fabrics = batch.fabrics(fabric)
    if check_determinism:
        if fabrics not in ((), ("sim",)):
            raise Refused("--check-determinism needs the sim fabric: real time is never the same twice")
        fabrics = ("sim",)
    scripts = batch.select(files, _choices(chosen))
    if out is not None:
        report.prepare(out)
    stdout = Stdout()
    stream: IO[str] = sys.stderr if json else cast("IO[str]", stdout)
    console = Console(file=stream, highlight=False)
    work = batch.watched(
        batch.jobs(scripts, fabrics=fabrics, seed=seed), out, trace=trace, twice=check_determinism
    )
    sweep()
    runs = _run_all(work, console, str(out) if out is not None else "", jobs)
    comparisons = batch.comparisons(work, runs)
    show_comparisons(console, comparisons)
    for text in _ways(work, runs):
        console.print(text, markup=False, soft_wrap=True)
    problems = list(_write_reports(out, work, runs, comparisons))
    if json:
        stdout.write(report.results_json(runs, comparisons).decode())
    stdout.flush()
    problems += filter(None, [stdout.problem])
    for problem in problems:
        click.echo(problem, err=True)
    for run in runs:
        for text in filter(None, [*run.incomplete, run.divergence]):
            click.echo(text, err=True)
        if run.determinism:
            console.print(f"{run.title}: {run.determinism}", markup=False, soft_wrap=True)
    if out is None:
        for text in _nowhere(scripts):
            click.echo(text, err=True)
    stdout.flush()
    code = exit_code(runs, comparisons)
    context.exit(INTERNAL if problems and code != FAILED else code)


@poplab.command()
@files_argument
def check(files: tuple[Path, ...]) -> None:
    """Read each FILE, a scenario or a folder of them, and name everything that is wrong with it."""
    for script in batch.select(files):
        scenario = script.scenario
        conditions = len(scenario.expect) + sum(len(step.expect) for step in scenario.steps)
        parts = (
            (len(script.cast.actors), "host"),
            (len(scenario.steps), "step"),
            (conditions, "condition"),
        )
        cell = script.title.removeprefix(scenario.name)
        found = ", ".join(counted(number, noun) for number, noun in parts)
        click.echo(f"{script.file}{cell}: good: {found}")


@poplab.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of scenario files: editors complete and check with it."""
    click.echo(json_format.dumps(schema.json_schema(), indent=2))


@poplab.command("doctor")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def examine(context: click.Context, names: tuple[str, ...], json: bool) -> None:
    """Find out what this machine can do, and how to get what is missing.

    Each NAME is a finding, or a group of them such as `kernel`; all if left out. Everything is tried in earnest, and
    nothing of the machine is changed.

    Exit codes: 0 all named are there, and of a group all that something needs; without a name, the fabrics sim and
    loopback are; 2 no such name; 3 not.
    """
    sweep()
    stdout = Stdout()
    console = Console(file=cast("IO[str]", stdout), highlight=False)
    pretty = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    try:
        with console.status("trying ...") if pretty and not json else nullcontext():
            found = doctor.examine(names or None)
    except doctor.UnknownName as error:
        known = ", ".join((*doctor.Group, *doctor.NAMES))
        lines = textwrap.wrap(
            known, 100, break_on_hyphens=False, initial_indent="    known: ", subsequent_indent=" " * 11
        )
        raise Refused("\n".join([str(error), *lines])) from error
    if json:
        stdout.write(findings.as_json(found) + "\n")
    elif pretty:
        console.print(findings.table(found, console.width))
    else:
        stdout.write("".join(f"{line}\n" for line in findings.lines(found)))
    if not names and not json:
        first = f"poplab run {shlex.quote(os.path.relpath(LIBRARY / FIRST_LESSON))}"
        last = ["", *findings.in_words(found), f"next: {findings.next_command(found, first)}"]
        stdout.write("".join(f"{line}\n" for line in last))
    stdout.flush()
    if stdout.problem:
        click.echo(stdout.problem, err=True)
        context.exit(INTERNAL)
    asked = names or ("sim", "loopback")
    needed = [each for each in found if each.name in asked or (names and each.needed_by)]
    context.exit(PASSED if all(finding.there for finding in needed) else FabricUnavailable.exit_code)


def exit_code(runs: Sequence[RunRecord], comparisons: Sequence[ComparisonRecord] = ()) -> int:
    """One code for everything: the one that needs attention first.

    Where nothing ran, or nothing could be compared that was to be, the usage was wrong.
    """
    states = {run.state for run in runs} | {each.state for each in comparisons if each.state is State.FAILED}
    if State.ERROR not in states and any(run.divergence for run in runs):
        return determinism.NotDeterministic.exit_code
    for state, code in URGENT:
        if state in states:
            return code
    vain = comparisons and all(each.state is State.SKIPPED for each in comparisons)
    return Refused.exit_code if states == {State.SKIPPED} or vain else PASSED


def _choices(words: tuple[str, ...]) -> dict[str, str]:
    chosen = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise Refused(f"--set {word}: write NAME=VALUE, where NAME is an axis of the matrix")
        chosen[name] = value
    return chosen


def _run_all(work: list[batch.Job], console: Console, out: str, at_once: int | None) -> list[RunRecord]:
    try:
        return _run_or_drain(work, console, out, at_once)
    except BaseException as error:
        if _is_pressed_again(error):
            click.echo("poplab: killed; no reports", err=True)
        raise


def _run_or_drain(work: list[batch.Job], console: Console, out: str, at_once: int | None) -> list[RunRecord]:
    """The first Ctrl-C is obeyed in here, the second one comes out."""
    if len(work) > 1:
        return batch.Pool(work, batch.board(console, report=out), at_once=at_once).run()
    watcher = observer(console, report=out)
    try:
        record = batch.attempt(work[0], watcher)
    finally:
        if isinstance(watcher, LiveScreen):
            watcher.close()
    if record.state in (State.SKIPPED, State.UNAVAILABLE):
        click.echo(f"{record.title}: {record.error}", err=True)
    return [record]


def _ways(work: list[batch.Job], runs: list[RunRecord]) -> list[str]:
    """Of files that failed: that routes are missing in them, once for each."""
    scripts = {
        job.script.file: job.script for job, run in zip(work, runs, strict=True) if run.state is State.FAILED
    }
    return list(filter(None, map(advice, scripts.values())))


def _nowhere(scripts: Sequence[schema.Script]) -> Iterator[str]:
    """That what the files want written is not, for there is no folder for it."""
    captures = any(script.scenario.outputs.captures is not None for script in scripts)
    reports = any("report" in (script.places.data.get("outputs") or ()) for script in scripts)
    wanted = [*(["captures"] if captures else []), *(["reports"] if reports else [])]
    if wanted:
        yield f"note: {' and '.join(wanted)} are written with --out DIR"


def _write_reports(
    out: Path | None, work: list[batch.Job], runs: list[RunRecord], comparisons: list[ComparisonRecord]
) -> Iterator[str]:
    """What could not be written, in words: the verdict is known all the same."""
    if out is not None:
        kinds = [job.script.scenario.outputs.report for job in work]
        try:
            report.write(out, runs, kinds, comparisons)
        except OSError as error:
            yield f"cannot write all reports into {out}: {error.strerror or error}"
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(report.step_summary(runs, comparisons))
        except OSError as error:
            click.echo(f"cannot add to GITHUB_STEP_SUMMARY: {error.strerror or error}", err=True)


def _quiet_logs() -> None:
    """The PoP of a scenario logs what is wrong, to stderr; everything else is on the screen."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _is_pressed_again(error: BaseException) -> bool:
    """Whether it is a Ctrl-C that came while the first one was being obeyed."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def main() -> None:
    """The console script. A defect of poplab never looks like a failed expectation."""
    try:
        planted.from_environment()
        poplab(prog_name="poplab", help_option_names=["-h", "--help"])
    except PoplabError as error:
        click.echo(f"poplab: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit:
        raise
    except BaseException as error:
        if _is_pressed_again(error):
            sys.exit(INTERRUPTED)
        traceback.print_exc()
        click.echo(
            "this is a defect of poplab, not of your scenario: please report it with the lines above",
            err=True,
        )
        sys.exit(INTERNAL)


__all__ = ["LIBRARY", "PlainLines", "exit_code", "main", "poplab"]
