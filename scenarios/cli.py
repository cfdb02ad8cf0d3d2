"""``poplab``: run scenarios, check them, print their schema; ``poplab edge`` runs a PoP on its own."""

from __future__ import annotations

import json as json_format
import logging
import shlex
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import structlog
import trio
from rich.console import Console

from edge.cli import ErrorsInWords, edge
from edge.errors import ConfigError, PoplabError, Problem
from scenarios import determinism, report, runner, schema
from scenarios.fabric import FABRICS, Fabric
from scenarios.live import LiveScreen, PlainLines, observer
from scenarios.recording import Recording, folder_of
from scenarios.report import RunRecord, State
from scenarios.runner import Observer
from scenarios.schema import Script
from scenarios.trace import Recorder
from scenarios.trace.cli import trace as trace_command

LIBRARY = Path(__file__).parent / "library"

PASSED, FAILED, INTERNAL, INTERRUPTED = 0, 1, 4, 130
"""Exit codes beside those of PoplabError; 130 is what shells expect after Ctrl-C."""

files_argument = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(dir_okay=False, path_type=Path)
)


@click.group(cls=ErrorsInWords)
@click.version_option(package_name="poplab")
def poplab() -> None:
    """The any-to-any network on your own machine."""


poplab.add_command(edge, "edge")
poplab.add_command(trace_command, "trace")


@poplab.command()
@files_argument
@click.option(
    "--fabric", type=click.Choice(sorted(FABRICS)), default=None, help="Where; the file's first if left out."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="Instead of the seed in the file."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for junit.xml and results.json."
)
@click.option("--json", is_flag=True, help="Print the results as JSON, and nothing else, on stdout.")
@click.option("--trace", is_flag=True, help="Write trace.msgpack too, for `poplab trace`.")
@click.option("--check-determinism", is_flag=True, help="Run twice in virtual time and compare every event.")
@click.pass_context
def run(
    context: click.Context,
    files: tuple[Path, ...],
    fabric: str | None,
    seed: int | None,
    out: Path | None,
    json: bool,
    trace: bool,
    check_determinism: bool,
) -> None:
    """Run each FILE, a scenario, and judge it.

    Exit codes: 0 passed, 1 an expectation or an invariant failed, 2 a bad file, 3 the fabric is not available here,
    4 an error of poplab itself, 5 not deterministic, 130 interrupted.
    """
    _quiet_logs()
    if trace and out is None:
        raise click.UsageError("--trace writes a file: add --out DIR")
    scripts = _check_all(files)
    if check_determinism:
        fabric = _virtual(scripts, fabric)
    console = Console(stderr=json, highlight=False)
    runs: list[RunRecord] = []
    try:
        for number, script in enumerate(scripts, 1):
            where = FABRICS[fabric or script.scenario.fabrics[0]]
            folder = None if out is None else folder_of(out, number, len(scripts), script.scenario.name)
            with TemporaryDirectory(prefix="poplab-") as twin:
                place = Path(twin) if check_determinism else None
                runs.append(_run_one(script, where, seed, out, folder, console, trace=trace, twin=place))
                if check_determinism and runs[-1].state is not State.INTERRUPTED:
                    cell = sum(other.file == script.file for other in scripts[: number - 1])
                    console.print(determinism.check(script, cell, runs[-1], Path(twin)), markup=False)
            if runs[-1].state is State.INTERRUPTED:
                break
    finally:
        if out is not None and runs:
            wanted = {kind for script in scripts for kind in script.scenario.outputs.report}
            report.write(out, runs, junit="junit" in wanted, json="json" in wanted)
    if json:
        click.echo(report.results_json(runs), nl=False)
    context.exit(exit_code(runs))


@poplab.command()
@files_argument
def check(files: tuple[Path, ...]) -> None:
    """Read each FILE, a scenario, and name everything that is wrong with it."""
    for script in _check_all(files):
        scenario = script.scenario
        conditions = len(scenario.expect) + sum(len(step.expect) for step in scenario.steps)
        click.echo(
            f"{script.file}: good: {len(script.cast.actors)} hosts, "
            f"{len(scenario.steps)} steps, {conditions} conditions"
        )


@poplab.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of scenario files: editors complete and check with it."""
    click.echo(json_format.dumps(schema.json_schema(), indent=2))


def exit_code(runs: list[RunRecord]) -> int:
    """One code for all runs: the one that needs attention first."""
    states = {run.state for run in runs}
    for state, code in ((State.ERROR, INTERNAL), (State.FAILED, FAILED), (State.INTERRUPTED, INTERRUPTED)):
        if state in states:
            return code
    return PASSED


def _check_all(files: tuple[Path, ...]) -> list[Script]:
    """All files before the first one runs; ConfigError with the mistakes of all."""
    scripts: list[Script] = []
    problems: list[Problem] = []
    for file in files:
        try:
            scripts += runner.check(file)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return scripts


def _virtual(scripts: list[Script], fabric: str | None) -> str:
    """Only a run in virtual time can be the same twice."""
    for script in scripts:
        if fabric not in (None, "sim") or "sim" not in script.scenario.fabrics:
            raise click.UsageError(
                "--check-determinism needs the sim fabric: real time is never the same twice"
            )
    return "sim"


def _run_one(
    script: Script,
    fabric: Fabric,
    seed: int | None,
    out: Path | None,
    folder: Path | None,
    console: Console,
    *,
    trace: bool,
    twin: Path | None,
) -> RunRecord:
    chosen = script.scenario.seed if seed is None else seed
    repeat = f"poplab run {shlex.quote(script.file)} --seed {chosen}"
    if fabric.name != script.scenario.fabrics[0]:
        repeat += f" --fabric {fabric.name}"
    watcher = observer(console, report=str(out) if out is not None else "")
    with Recording(script, folder, fabric=fabric.name, seed=chosen, trace=trace, twin=twin) as recording:
        try:
            main = partial(_until_interrupted, script, fabric, chosen, repeat, watcher, recording.recorder)
            record = fabric.execute(main, seed=chosen)
        finally:
            if isinstance(watcher, LiveScreen):
                watcher.close()
    for complaint in recording.complaints:
        click.echo(complaint, err=True)
    return record


async def _until_interrupted(
    script: Script, fabric: Fabric, seed: int, repeat: str, watcher: Observer, recorder: Recorder | None
) -> RunRecord:
    """The first Ctrl-C drains and reports; the second one is Python's own."""
    interrupt = trio.Event()

    async def listen(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                interrupt.set()
                break

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            record = await runner.run(
                script,
                fabric,
                seed=seed,
                repeat=repeat,
                observer=watcher,
                interrupt=interrupt,
                recorder=recorder,
            )
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        refusals = group.subgroup(PoplabError)
        if refusals is not None and len(refusals.exceptions) == 1:
            raise refusals.exceptions[0] from None
        raise
    return record


def _quiet_logs() -> None:
    """The PoP of a scenario logs what is wrong, to stderr; everything else is on the screen."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def main() -> None:
    """The console script. A defect of poplab never looks like a failed expectation."""
    try:
        poplab(prog_name="poplab")
    except Exception:
        traceback.print_exc()
        click.echo(
            "this is a defect of poplab, not of your scenario: please report it with the lines above",
            err=True,
        )
        sys.exit(INTERNAL)


__all__ = ["LIBRARY", "PlainLines", "exit_code", "main", "poplab"]
