"""Conditions, read before anything runs: a misspelt name is found by ``poplab check``, not after a minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath

from connectors.proto.masque_way import Http2Way, QuicWay
from connectors.proto.wireguard_way import WireGuardWay
from edge.document import Path, did_you_mean
from edge.errors import ConfigError, Problem
from scenarios import world
from scenarios.checks import Expression, ExpressionError, parse, threshold
from scenarios.runner.actions import ACTIONS
from scenarios.runner.catalogue import metrics
from scenarios.runner.faulting import computed
from scenarios.runner.loading import FIELDS
from scenarios.runner.placeholders import OF_PROGRAMS, of_program
from scenarios.runner.stepping import fields
from scenarios.runner.workshop import copied
from scenarios.schema import GLOBAL_NAMES, Cast, Script, Step, raise_if, read, topology_semantics
from scenarios.schema.language import Limit
from scenarios.schema.programs import STATE, ExecRun, File, Files

WAYS = (QuicWay.word, Http2Way.word, WireGuardWay.word)
"""What the way of a tunnel to the PoP is called; there may be none, which is an empty text."""

Fields = tuple[str, ...] | None
"""What conditions can ask of a step; None: nobody knows, its form is wrong."""


def check(source: FilePath | str, file: str = "<text>", *, build: bool = True) -> tuple[Script, ...]:
    """The scenario in `source`, one script for each cell of its matrix; ConfigError if something is wrong.

    Everything is checked that can be checked without running it; whether the PoP takes it, only with `build`.
    """
    reading = read(source, file)
    problems = dict(reading.problems)
    for script in reading.scripts:
        found = [script.problem(*each) for each in _conditions(script)]
        problems.update(dict.fromkeys(found))
        if build and _makes_a_world(script):
            try:
                world.build(script)
            except ConfigError as error:
                problems.update(_once(error.problems, problems))
    raise_if(problems)
    return reading.scripts


def _makes_a_world(script: Script) -> bool:
    """Whether its topology is good: only then the PoP can say what it thinks of it."""
    return not script.expansion.misfits and not any(topology_semantics.check(script.scenario, script.cast))


def _once(found: Iterable[Problem], known: Iterable[Problem]) -> dict[Problem, None]:
    """One for each place: networks that share a rule share its mistakes."""
    taken = {(problem.file, problem.line, problem.column) for problem in known}
    places = {(problem.file, problem.line, problem.column): problem for problem in reversed(list(found))}
    return {problem: None for place, problem in places.items() if place not in taken}


def _conditions(script: Script) -> Iterator[tuple[Path, str, str]]:
    scenario = script.scenario
    for actor in script.cast.actors.values():
        for number, program in enumerate(actor.apps.programs or ()):
            for place, text in of_program(program):
                where: Path = (*actor.path, "app", "exec", number, *place)
                yield from _condition(text, where, OF_PROGRAMS, {}, script)
            yield from _copies(program.files, (*actor.path, "app", "exec", number), script)
    results: dict[str, Fields] = dict.fromkeys(scenario.load, FIELDS)
    later: dict[str, Fields] = {}
    for index, step in enumerate(scenario.steps):
        if step.id is not None:
            later[step.id] = None if script.is_vague(("steps", index)) else _fields(step)
    for index, step in enumerate(scenario.steps):
        if script.is_vague(("steps", index)):
            if step.id is not None:
                results[step.id] = None
            continue
        own, before = _fields(step), dict(results)
        if step.id is not None:
            results[step.id] = own
        if step.at is not None:
            known = {**results, **(later if step.background else {})}
            yield from _moment(step.at, ("steps", index, "at"), known, script)
        for word, verb in step.verbs.items():
            for key, text in computed(verb):
                yield from _condition(text, ("steps", index, word, key), (), results, script)
            if isinstance(verb, ExecRun):
                yield from _copies(verb.files, ("steps", index, word), script)
                for place, text in of_program(verb):
                    yield from _condition(text, ("steps", index, word, *place), OF_PROGRAMS, before, script)
        if step.until is not None:
            yield from _condition(step.until, ("steps", index, "await"), own, results, script)
        for number, text in enumerate(step.expect):
            yield from _condition(text, ("steps", index, "expect", number), own, results, script)
    for number, text in enumerate(scenario.expect):
        yield from _condition(text, ("expect", number), (), results, script)
    for index, invariant in enumerate(scenario.invariants):
        for word in ("always", "sometimes"):
            text = getattr(invariant, word)
            if text is not None:
                yield from _condition(text, ("invariants", index, word), (), results, script)
    yield from _thresholds(script)


def _copies(files: Files, path: Path, script: Script) -> Iterator[tuple[Path, str, str]]:
    """Files beside the scenario that cannot be copied."""
    for name, file in files.items():
        if isinstance(file, File) and file.source is not None:
            source = FilePath(script.file).parent / file.source
            try:
                copied(source)
            except OSError as error:
                text = f"cannot copy {source}: {error.strerror or error}"
                yield (*path, "files", name, "copy"), text, "a path is relative to the scenario file"


def _fields(step: Step) -> Fields:
    several = len(step.verbs) > 1
    unknown = step.verb is not None and type(step.verb[1]) not in ACTIONS
    return None if several or unknown else fields(step)


def _moment(
    text: str, path: Path, known: Mapping[str, Fields], script: Script
) -> Iterator[tuple[Path, str, str]]:
    found = list(_condition(text, path, (), known, script))
    yield from found
    if found:
        return
    expression = parse(text)
    whole = [each for each in expression.paths if len(each) == 1 and each[0] in known]
    if whole:
        name = whole[0][0]
        yield path, f"{text!r}: {name} is a step, not a moment", f"write for example {name}.ended + 2s"
    elif not expression.is_number:
        yield path, f"{text!r} is no moment", "write for example 10s, or call.confirmed + 20s"


def _thresholds(script: Script) -> Iterator[tuple[Path, str, str]]:
    known = metrics()
    ids = {step.id for step in script.scenario.steps} | set(script.scenario.load)
    for key, items in script.scenario.thresholds.items():
        for number, item in enumerate((items,) if isinstance(items, str) else items):
            where: Path = ("thresholds", key) if isinstance(items, str) else ("thresholds", key, number)
            text = {"expr": item.expr, "abort": item.abort} if isinstance(item, Limit) else item
            try:
                limit = threshold.parse(key, text)
                limit.check(known)
            except ExpressionError as error:
                yield where, str(error), error.fix
                continue
            for tag, value in limit.selector.tags:
                if tag in ("call", "step", "load") and value not in ids:
                    names = [name for name in ids if name is not None]
                    yield where, f"no {tag} is called {value!r}", did_you_mean(value, names)


def _condition(
    text: str, path: Path, own: Fields, results: Mapping[str, Fields], script: Script
) -> Iterator[tuple[Path, str, str]]:
    try:
        expression = parse(text)
    except ExpressionError as error:
        yield path, str(error), error.fix
        return
    for message, fix in _unknown(expression, own, results, script):
        yield path, f"{text!r}: {message}", fix


def _unknown(
    expression: Expression, own: Fields, results: Mapping[str, Fields], script: Script
) -> Iterator[tuple[str, str]]:
    scenario, cast = script.scenario, script.cast
    inside: dict[str, Iterable[str] | None] = {
        "clients": scenario.topology.clients,
        "hosts": cast.actors,
        "sites": scenario.topology.sites,
        "vnets": scenario.vnets,
        "tunnels": cast.tunnels,
        **results,
    }
    yield from _strange_ways(expression)
    yield from _strange_programs(expression, cast)
    if own is None:
        return
    after = {step.id: number for number, step in enumerate(scenario.steps, 1) if step.id is not None}
    for first, *rest in expression.paths:
        if first not in own and first not in results and first in after:
            yield f"step {after[first]}, {first!r}, has not begun yet", "move the condition to that step"
        elif first not in own and first not in results and first not in GLOBAL_NAMES:
            yield f"there is no {first!r}", did_you_mean(first, [*own, *results, *GLOBAL_NAMES])
        elif rest and first not in own and (known := inside.get(first)) is not None and rest[0] not in known:
            yield f"{first} has no {rest[0]!r}", did_you_mean(rest[0], known)


def _strange_programs(expression: Expression, cast: Cast) -> Iterator[tuple[str, str]]:
    """Programs that a host does not have, and what nobody can ask of one."""
    for path in expression.paths:
        if len(path) < 3 or path[0] not in ("clients", "hosts") or path[2] != "programs":
            continue
        actor = cast.actors.get(path[1])
        if actor is None:
            continue
        programs = {program.name: program for program in actor.apps.programs or ()}
        if not programs:
            yield f"{path[1]} has no programs", "add `app: {exec: [...]}` to it"
        elif len(path) > 3 and path[3] not in programs:
            yield f"{path[1]} has no program {path[3]!r}", did_you_mean(path[3], programs)
        elif len(path) > 4:
            known = [*STATE, *programs[path[3]].capture]
            if path[4] not in known:
                yield f"program {path[3]} has no {path[4]!r}", did_you_mean(path[4], known)


def _strange_ways(expression: Expression) -> Iterator[tuple[str, str]]:
    """What no tunnel's way is ever called: the condition would just never hold."""
    for path, text in expression.equated():
        of_a_tunnel = len(path) == 3 and path[0] in ("clients", "tunnels") and path[2] in ("way", "ways")
        if of_a_tunnel and text and text not in WAYS:
            yield f"no way is called {text!r}", f'write one of {", ".join(WAYS)}, or "" for none'
