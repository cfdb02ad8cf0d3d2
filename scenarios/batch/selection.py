"""From words on the command line to scripts: files, folders, cells of a matrix, fabrics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from edge.document import Document, did_you_mean
from edge.errors import ConfigError, Problem, Refused
from scenarios import runner
from scenarios.batch.attempt import Job
from scenarios.fabric import FABRICS, named
from scenarios.schema import TUNNEL_WORDS, Script, written


def select(paths: Iterable[Path], chosen: Mapping[str, str] | None = None) -> list[Script]:
    """The scripts in `paths`; of a folder, all *.yaml below it, sorted, but those that another one includes.

    `chosen` are values of matrix axes, and of `tunnel`, where that is no axis. ConfigError with the mistakes of all
    files.
    """
    scripts: list[Script] = []
    problems: list[Problem] = []
    for file in _files(paths):
        try:
            scripts += runner.check(file)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return _chosen(scripts, chosen or {})


def select_file(path: Path) -> list[Script]:
    """As `select`, for who takes one file and no folder. Refused."""
    if os.path.isdir(path):
        raise Refused(f"{path}: this is a folder\n    fix: name a file in it")
    return select([path])


def _files(paths: Iterable[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        if not os.path.isdir(path):  # pathlib raises where a folder above may not be entered
            files[path] = None
            continue
        below = sorted(
            file for file in path.rglob("*.yaml")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )  # fmt: skip
        parts = {part for file in below for part in _included(file)}
        found = [file for file in below if file.resolve() not in parts]
        if not found:
            raise Refused(f"{path}: there is no scenario, that is no *.yaml, in this folder")
        files.update(dict.fromkeys(found))
    return list(files)


def _included(file: Path) -> Iterator[Path]:
    try:
        data = Document.read(file).data
    except ConfigError:
        return  # it is named when it is checked
    names = data.get("include", []) if isinstance(data, dict) else []
    for name in names if isinstance(names, list) else [names]:
        if isinstance(name, str):
            yield (file.parent / name).resolve()


def _chosen(scripts: Sequence[Script], chosen: Mapping[str, str]) -> list[Script]:
    axes: dict[str, dict[str, None]] = {}
    for script in scripts:
        for name, value in script.cell.items():
            axes.setdefault(name, {})[written(value)] = None
    if "tunnel" in chosen:
        scripts = _with_tunnels(scripts, chosen["tunnel"])
        for script in scripts:
            axes.setdefault("tunnel", {})[written(script.cell.get("tunnel", chosen["tunnel"]))] = None
    known = "; ".join(f"{name} is one of {', '.join(values)}" for name, values in axes.items())
    for name, value in chosen.items():
        if name not in axes:
            hint = did_you_mean(name, axes)
            text = f"--set {name}={value}: no matrix has an axis {name!r}"
            raise Refused("\n    fix: ".join(filter(None, [text, hint or known or "no file has a matrix"])))
        if value not in axes[name]:
            raise Refused(f"--set {name}={value}: {name} is never {value!r}\n    fix: {known}")
    kept = [
        script
        for script in scripts
        if all(written(script.cell[name]) == value for name, value in chosen.items() if name in script.cell)
    ]
    if not kept:
        raise Refused(f"no cell of the matrix has all that --set asks for\n    fix: {known}")
    return kept


def _with_tunnels(scripts: Sequence[Script], word: str) -> list[Script]:
    """Those that have no axis of that name get tunnels of the kind `word`."""
    known = next((each for each in TUNNEL_WORDS if each == word), None)
    if known is None and not all("tunnel" in script.cell for script in scripts):
        raise Refused(f"--set tunnel={word}: a tunnel is one of {', '.join(TUNNEL_WORDS)}")
    return [
        script if known is None or "tunnel" in script.cell else script.with_tunnel(known)
        for script in scripts
    ]


def fabrics(words: str | None) -> tuple[str, ...]:
    """What stands after ``--fabric``: one word, or several with commas between them; none if nothing does."""
    if words is None:
        return ()
    names = tuple(word.strip() for word in words.split(","))
    for index, name in enumerate(names):
        if name not in FABRICS:
            fix = did_you_mean(name, FABRICS)
            raise Refused(f"--fabric {words}: there is no fabric {name!r}\n    fix: {fix}")
        if name in names[:index]:
            fix = "to run the same twice, use --check-determinism"
            raise Refused(f"--fabric {words}: {name} stands there twice\n    fix: {fix}")
    return names


def jobs(scripts: Iterable[Script], *, fabrics: Sequence[str], seed: int | None) -> list[Job]:
    """What is to be done with each script, on each of `fabrics` one after the other; without any, on its own first.

    A script that is not meant for a fabric is skipped there.
    """
    beside = tuple(fabrics) if len(fabrics) > 1 else ()
    return [
        _job(script, name, seed, beside)
        for script in scripts
        for name in fabrics or script.scenario.fabrics[:1]
    ]


def _job(script: Script, name: str, seed: int | None, beside: tuple[str, ...]) -> Job:
    scenario = script.scenario
    chosen = scenario.seed if seed is None else seed
    job = Job(script, None, chosen, script.command(name, chosen), where=name, beside=beside)
    if name not in scenario.fabrics:
        return job._replace(reason=f"the file runs on {' and '.join(scenario.fabrics)}, not on {name}")
    return job._replace(fabric=named(name))
