"""Conditions, read before anything runs: a misspelt name is found by ``poplab check``, not after a minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath

from edge.document import Path, did_you_mean
from edge.errors import ConfigError
from scenarios import world
from scenarios.checks import Expression, ExpressionError, parse
from scenarios.runner.actions import ACTIONS
from scenarios.schema import GLOBAL_NAMES, Script, Step, load


def check(source: FilePath | str, file: str = "<text>") -> Script:
    """The scenario in `source` with everything checked that can be checked without running it; ConfigError if wrong."""
    script = load(source, file)
    problems = [script.document.problem(*found) for found in _conditions(script)]
    if problems:
        raise ConfigError(problems)
    world.build(script)
    return script


def _conditions(script: Script) -> Iterator[tuple[Path, str, str]]:
    scenario = script.scenario
    results: dict[str, tuple[str, ...]] = {}
    for index, step in enumerate(scenario.steps):
        own = fields(step)
        if step.id is not None:
            results[step.id] = own
        for number, text in enumerate(step.expect):
            yield from _condition(text, ("steps", index, "expect", number), own, results, script)
    for number, text in enumerate(scenario.expect):
        yield from _condition(text, ("expect", number), (), results, script)


def fields(step: Step) -> tuple[str, ...]:
    """The names of the results of `step`."""
    return ACTIONS[type(step.verb[1])].FIELDS


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
        **results,
    }
    for first, *rest in expression.paths:
        if first not in own and first not in results and first not in GLOBAL_NAMES:
            yield f"there is no {first!r}", did_you_mean(first, [*own, *results, *GLOBAL_NAMES])
        elif rest and first in inside and first not in own and rest[0] not in inside[first]:
            yield f"{first} has no {rest[0]!r}", did_you_mean(rest[0], inside[first])
