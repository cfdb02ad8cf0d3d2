"""Conditions, read before anything runs: a misspelt name is found by ``poplab check``, not after a minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath

from edge.document import Path, did_you_mean
from edge.errors import ConfigError, Problem
from scenarios import world
from scenarios.checks import Expression, ExpressionError, parse, threshold
from scenarios.runner.catalogue import metrics
from scenarios.runner.loading import FIELDS
from scenarios.runner.stepping import fields
from scenarios.schema import GLOBAL_NAMES, Script, load
from scenarios.schema.language import Limit


def check(source: FilePath | str, file: str = "<text>") -> tuple[Script, ...]:
    """The scenario in `source`, one script for each cell of its matrix; ConfigError if something is wrong.

    Everything is checked that can be checked without running it.
    """
    scripts = load(source, file)
    problems: dict[Problem, None] = {}
    for script in scripts:
        found = [script.problem(*each) for each in _conditions(script)]
        problems.update(dict.fromkeys(found))
        if not found:
            world.build(script)
    if problems:
        raise ConfigError(list(problems))
    return scripts


def _conditions(script: Script) -> Iterator[tuple[Path, str, str]]:
    scenario = script.scenario
    results: dict[str, tuple[str, ...]] = dict.fromkeys(scenario.load, FIELDS)
    later = {step.id: fields(step) for step in scenario.steps if step.id is not None}
    for index, step in enumerate(scenario.steps):
        own = fields(step)
        if step.id is not None:
            results[step.id] = own
        if step.at is not None:
            known = {**results, **(later if step.background else {})}
            yield from _condition(step.at, ("steps", index, "at"), (), known, script)
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
    text: str, path: Path, own: tuple[str, ...], results: Mapping[str, tuple[str, ...]], script: Script
) -> Iterator[tuple[Path, str, str]]:
    try:
        expression = parse(text)
    except ExpressionError as error:
        yield path, str(error), error.fix
        return
    for message, fix in _unknown(expression, own, results, script):
        yield path, f"{text!r}: {message}", fix


def _unknown(
    expression: Expression, own: tuple[str, ...], results: Mapping[str, tuple[str, ...]], script: Script
) -> Iterator[tuple[str, str]]:
    scenario, cast = script.scenario, script.cast
    inside: dict[str, Iterable[str]] = {
        "clients": scenario.topology.clients,
        "hosts": cast.actors,
        "sites": scenario.topology.sites,
        "vnets": scenario.vnets,
        "tunnels": cast.tunnels,
        **results,
    }
    for first, *rest in expression.paths:
        if first not in own and first not in results and first not in GLOBAL_NAMES:
            yield f"there is no {first!r}", did_you_mean(first, [*own, *results, *GLOBAL_NAMES])
        elif rest and first in inside and first not in own and rest[0] not in inside[first]:
            yield f"{first} has no {rest[0]!r}", did_you_mean(rest[0], inside[first])
