"""What every check says: where, what, and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edge.document import Path, did_you_mean
from scenarios.schema.cast import Actor, Cast


class Finding(NamedTuple):
    """One mistake; `path` is where in the scenario."""

    path: Path
    message: str
    fix: str = ""


_KINDS: dict[str, Callable[[Actor], object]] = {
    "phone": lambda actor: actor.phone,
    "PBX": lambda actor: actor.pbx,
    "web server": lambda actor: actor.apps.http_server or actor.apps.ci_pipeline,
    "name server": lambda actor: actor.apps.dns_server,
    "source of traffic": lambda actor: actor.apps.traffic,
    "directory server": lambda actor: actor.apps.directory_server,
    "directory member": lambda actor: actor.apps.directory_member,
}


def is_a(cast: Cast, words: tuple[str, ...] | str, path: Path, kind: str) -> Iterator[Finding]:
    """Everybody in `words` is an actor with a `kind`."""
    for name in cast.names(words):
        actor = cast.actors.get(name)
        if actor is None or _KINDS[kind](actor) is None:
            fitting = [other.name for other in cast.actors.values() if _KINDS[kind](other) is not None]
            text = f"there is no {name!r}" if actor is None else f"{name!r} has no {kind}"
            near = did_you_mean(name, fitting) if fitting else f"nobody in this file has a {kind}"
            yield Finding(path, text, near)


def known(cast: Cast, words: tuple[str, ...] | str, path: Path) -> Iterator[Finding]:
    """Everybody in `words` is an actor."""
    for name in cast.names(words):
        if name not in cast.actors:
            yield Finding(path, f"there is no {name!r}", did_you_mean(name, cast.actors))
