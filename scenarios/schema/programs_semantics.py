"""What programs must satisfy beyond their form: names that mean something, expressions that can be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from edge.document import Path, did_you_mean
from scenarios.proto.pick import expression
from scenarios.schema.cast import Cast
from scenarios.schema.language import WITH_PROGRAMS, Scenario
from scenarios.schema.places import Finding, known, not_ours
from scenarios.schema.programs import (
    RESULTS,
    STATE,
    ExecRun,
    ExecStart,
    ExecStop,
    File,
    Files,
    Pick,
    Program,
    Ready,
)

MOST_FILES = 1000

OF_STEPS = ("started", "ended")
"""What every step has, besides."""


def check(scenario: Scenario, cast: Cast, not_names: Collection[str]) -> Iterator[Finding]:
    """Everything wrong with programs of hosts; `not_names` are words that conditions read otherwise."""
    yield from _fabric(scenario)
    for actor in cast.actors.values():
        ours = [word for word in actor.apps.words if word != "exec"]
        if actor.name in cast.real and ours:
            why = "is a client of Xray" if actor.name in cast.proxied else "runs real programs"
            text = f"{actor.name} {why}, so its system is the kernel's, and {ours[0]} cannot be on it"
            yield Finding(
                (*actor.path, "app", ours[0]),
                text,
                "give the programs, or the application, a host of its own",
            )
        seen: dict[str, int] = {}
        for index, program in enumerate(actor.apps.programs or ()):
            path: Path = (*actor.path, "app", "exec", index)
            if program.name in seen:
                text = f"program {seen[program.name] + 1} of {actor.name} is called {program.name!r} too"
                yield Finding((*path, "name"), text, "give one another name")
            seen.setdefault(program.name, index)
            yield from _program(program, path, not_names)


def check_step(verb: ExecRun | ExecStart | ExecStop, path: Path, cast: Cast) -> Iterator[Finding]:
    """What a step does with programs."""
    strangers = list(known(cast, verb.on, (*path, "on")))
    if verb.on in cast.outside:
        strangers.append(not_ours(verb.on, (*path, "on")))
    yield from strangers
    if isinstance(verb, ExecRun):
        yield from _started(verb, path)
        yield from _captures(verb.capture, (*path, "capture"), (*OF_STEPS, *RESULTS))
    elif not strangers:
        actor = cast.actors[verb.on]
        names = [program.name for program in actor.apps.programs or ()]
        if verb.name not in names:
            fix = did_you_mean(verb.name, names) or f"add it to `app: {{exec: [...]}}` of {actor.name}"
            yield Finding((*path, "name"), f"{actor.name} has no program {verb.name!r}", fix)


def check_sender(cast: Cast, sender: str, path: Path) -> Iterator[Finding]:
    """A step in which our own system has to send something from an actor."""
    for name in cast.names(sender):
        if name in cast.outside:
            yield not_ours(name, path)
            return
    if sender in cast.real:
        why = (
            "is a client of Xray, so only real programs"
            if sender in cast.proxied
            else "runs real programs, so only they"
        )
        text = f"{sender} {why} can send from it"
        those = "curl or dig" if sender in cast.proxied else "ping, curl or dig"
        yield Finding(path, text, f"use exec.run, for example with {those}; or another host")


def _fabric(scenario: Scenario) -> Iterator[Finding]:
    if scenario.fabric is None or not scenario.runs_programs:
        return
    for index, name in enumerate(scenario.fabrics):
        if name not in WITH_PROGRAMS:
            path: Path = ("fabric",) if isinstance(scenario.fabric, str) else ("fabric", index)
            text = f"`exec` runs real programs, and {name} has no machines for them"
            yield Finding(path, text, "write `fabric: netns`, or leave `fabric` out")


def _program(program: Program, path: Path, not_names: Collection[str]) -> Iterator[Finding]:
    yield from _started(program, path)
    yield from _captures(program.capture, (*path, "capture"), STATE, not_names)
    if program.ready is not None:
        yield from _ready(program.ready, (*path, "ready"))


def _started(given: Program | ExecRun, path: Path) -> Iterator[Finding]:
    if not given.run[0].strip():
        yield Finding(
            (*path, "run", 0), "this names no program", "write for example [curl, http://10.0.50.80/]"
        )
    elif given.run[0] in given.files:
        text = f"{given.run[0]!r} is looked for on the machine, not in the working folder"
        yield Finding((*path, "run", 0), text, f"write ./{given.run[0]}")
    yield from _files(given.files, (*path, "files"))


def _files(files: Files, path: Path) -> Iterator[Finding]:
    if len(files) > MOST_FILES:
        yield Finding(path, f"{len(files)} files; {MOST_FILES} are allowed", "put some into one")
    for name, file in files.items():
        folder = next((other for other in files if name.startswith(f"{other}/")), None)
        if folder is not None:
            yield Finding((*path, name), f"{folder!r} is a file here, and no folder", "rename one of them")
        if isinstance(file, File) and (file.text is None) is (file.source is None):
            text = "a file has one of `text` and `copy`"
            yield Finding((*path, name), text, "write for example {copy: uac.xml}, or the text itself")


def _captures(
    picks: Mapping[str, Pick], path: Path, taken: Iterable[str], not_names: Collection[str] = ()
) -> Iterator[Finding]:
    for name, pick in picks.items():
        if name in taken or name in not_names:
            text = f"conditions use {name!r} for something else"
            yield Finding((*path, name), text, "choose another name")
        if pick.json is not None and pick.regex is not None:
            text = "a pick looks in one way, and here are two"
            yield Finding((*path, name), text, "leave out `json` or `regex`")
            continue
        if pick.take == "last" and pick.regex is None:
            text = "only an expression has several matches"
            yield Finding((*path, name, "take"), text, "leave `take` out")
        try:
            _ = pick.picking
        except ValueError as error:
            key = "json" if pick.json is not None else "regex"
            example = "end.sum_received.bits_per_second" if pick.json is not None else "'HTTP/1.1 ([0-9]+)'"
            yield Finding((*path, name, key), str(error), f"write for example {example}")


def _ready(ready: Ready, path: Path) -> Iterator[Finding]:
    ways = [key for key in ("tcp", "udp", "output", "run") if getattr(ready, key) is not None]
    if len(ways) != 1:
        said = f"not {' and '.join(f'`{way}`' for way in ways)}" if ways else "and here is none"
        yield Finding(path, f"`ready` has one of `tcp`, `udp`, `output` and `run`, {said}", "write one")
    if ready.output is not None:
        try:
            expression(ready.output)
        except ValueError as error:
            yield Finding((*path, "output"), str(error), "write for example 'listening on'")
