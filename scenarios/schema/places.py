"""What every check says: where, what, and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edge.document import Path, address_bytes, address_text, did_you_mean
from scenarios.schema.cast import Actor, Cast


class Finding(NamedTuple):
    """One mistake; `path` is where in the scenario."""

    path: Path
    message: str
    fix: str = ""


class _Kind(NamedTuple):
    word: str
    """The app that makes one of it."""
    app: Callable[[Actor], object]


_KINDS: dict[str, _Kind] = {
    "phone": _Kind("sip.phone", lambda actor: actor.phone),
    "PBX": _Kind("sip.pbx", lambda actor: actor.pbx),
    "web server": _Kind("http.server", lambda actor: actor.apps.http_server or actor.apps.ci_pipeline),
    "name server": _Kind("dns.server", lambda actor: actor.apps.dns_server),
    "source of traffic": _Kind("traffic", lambda actor: actor.apps.traffic),
    "directory server": _Kind("directory.server", lambda actor: actor.apps.directory_server),
    "directory member": _Kind("directory.member", lambda actor: actor.apps.directory_member),
}


def is_a(cast: Cast, words: tuple[str, ...] | str, path: Path, kind: str) -> Iterator[Finding]:
    """Everybody in `words` is an actor with a `kind`."""
    word, app = _KINDS[kind]
    for name in cast.names(words):
        actor = cast.actors.get(name)
        if actor is not None and app(actor) is not None:
            continue
        if name in cast.outside:
            yield not_ours(name, path)
            continue
        fitting = [other.name for other in cast.actors.values() if app(other) is not None]
        if actor is None:
            yield Finding(path, f"there is no {name!r}", did_you_mean(name, fitting or cast.actors))
        else:
            text = f"{name!r} has no phone" if kind == "phone" else f"{name!r} is no {kind}"
            yield Finding(path, text, did_you_mean(name, fitting) or f"add `app: {{{word}: ...}}` to it")


def not_ours(name: str, path: Path) -> Finding:
    """A step that would have to do something on, or to, a device from outside."""
    text = f"{name!r} is outside: a device of yours, on which poplab does nothing"
    return Finding(path, text, "name somebody else; others can send to it, and conditions see it")


def known(cast: Cast, words: tuple[str, ...] | str, path: Path) -> Iterator[Finding]:
    """Everybody in `words` is an actor."""
    for name in cast.names(words):
        if name not in cast.actors:
            inside = next((actor.name for actor in cast.actors.values() if actor.site == name), None)
            if inside is not None:
                yield Finding(path, f"{name!r} is a site", f"name a host of it, such as {inside}")
            else:
                yield Finding(path, f"there is no {name!r}", did_you_mean(name, cast.actors))


def one_vnet(cast: Cast, name: str, other: str, path: Path) -> Iterator[Finding]:
    """Two actors are in one network; `other` is the one that stands at `path`."""
    home, vnet = cast.actors[name].vnet, cast.actors[other].vnet
    if vnet != home:
        text = f"{other!r} is in vnet {vnet}, {name} in {home}: neither can reach the other"
        yield Finding(path, text, f"name somebody of {home}")


def one_version(cast: Cast, words: tuple[str, ...] | str, to: str, path: Path) -> Iterator[Finding]:
    """Packets can go from everybody in `words` to `to`, which stands at `path`: actors, or an address. Strangers are
    somebody else's business."""
    literal = address_bytes(to)
    targets = {to: literal} if literal is not None else _addresses(cast, to)
    for name, source in _addresses(cast, words).items():
        for target, address in targets.items():
            if len(source) != len(address):
                far = "" if literal is not None else f" ({address_text(address)})"
                text = f"{name} ({address_text(source)}) cannot reach {target}{far}: that is the other IP version"
                yield Finding(path, text, "name somebody of the same version")
                return


def _addresses(cast: Cast, words: tuple[str, ...] | str) -> dict[str, bytes]:
    return {name: cast.actors[name].ip for name in cast.names(words) if name in cast.actors}
