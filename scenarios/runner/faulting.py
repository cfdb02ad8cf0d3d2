"""``fault.*``: things done to the world while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import trio

from scenarios import links
from scenarios.checks import ExpressionError, Plain, Seconds
from scenarios.fabric import EDGE, blackhole
from scenarios.proto.link_pair import Direction, Traffic
from scenarios.report import FaultRecord
from scenarios.runner.placeholders import filled, inside
from scenarios.runner.stage import Impossible, Quiet, Stage
from scenarios.schema import verbs
from scenarios.schema.agent_semantics import cannot
from scenarios.schema.topology import Link
from scenarios.schema.words import many


class Faulting(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = ("targets",)
    DEFAULT: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stage: Stage, verb: verbs.Fault) -> None:
        self._stage = stage
        self._verb = verb
        self._targets: tuple[str, ...] = ()
        self._text = ""

    async def run(self) -> None:
        verb = self._verb
        words = getattr(verb, "tunnels", None) or _machine(verb)
        self._targets = self._resolve(words)
        for target in self._targets:
            try:
                self._text = self._do(target)
            except OSError as error:  # a program has broken the machine
                raise Impossible(error.strerror or str(error)) from None
            kind = verbs.FAULT_KINDS[type(verb)]
            record = FaultRecord(at=self._stage.elapsed(), kind=kind, target=target, text=self._text)
            self._stage.did(record)
        if isinstance(verb, verbs.Pause):
            try:
                await trio.sleep(verb.duration)
            finally:  # a step that is cut off leaves nobody behind who never moves again
                for target in self._targets:
                    self._stage.network.resume(target)

    def results(self) -> dict[str, Plain]:
        return {"targets": list(self._targets)}

    def summary(self) -> str:
        named = ", ".join(self._targets[:5]) + (" and others" if len(self._targets) > 5 else "")
        return f"{named}: {self._text}" if named and self._text else "nothing"

    def waiting(self) -> str:
        return f"until {', '.join(self._targets)} goes on"

    def _resolve(self, words: tuple[str, ...] | str) -> tuple[str, ...]:
        """Machines by name; ``${...}`` is worked out now. ExpressionError if it names nobody."""
        cast = self._stage.world.script.cast
        given = self._stage.given()
        plain = tuple(filled(word, given) for word in many(words))
        if plain == (EDGE,):
            return plain
        found = cast.tunnels_of("all" if plain == ("all",) else plain)
        for name in found:
            if name not in cast.tunnels:
                raise ExpressionError(f"there is no tunnel {name!r}", f"the file says {words!r}")
            if reason := cannot(cast, name, self._verb):
                raise ExpressionError(reason, f"the file says {words!r}")
            if name in cast.outside:
                raise ExpressionError(f"{name!r} is outside: a device of yours", f"the file says {words!r}")
        return found

    def _do(self, target: str) -> str:
        network, verb = self._stage.network, self._verb
        match verb:
            case verbs.Kill():
                network.kill(target, graceful=verb.graceful)
                return "stopped" if verb.graceful else "killed"
            case verbs.Restart():
                network.restart(target)
                return "started"
            case verbs.Pause():
                network.pause(target)
                return f"stands still for {Seconds(verb.duration)}"
            case verbs.Partition():
                network.path(target).partition(Direction(verb.direction))
                way = {"both": "", "up": " to the PoP", "down": " from the PoP"}[verb.direction]
                return f"nothing passes{way}"
            case verbs.Block():
                stopped = many(verb.what)
                network.path(target).block([_traffic(word) for word in stopped])
                return f"a firewall stops {' and '.join(stopped)}"
            case verbs.Heal():
                path = network.path(target)
                path.heal()
                path.unblock()
                path.restore()
                path.swallow = None
                return "healed"
            case verbs.Degrade():
                return self._degrade(target, verb)
            case verbs.BlackHole():
                hole = blackhole.data if verb.over is None else blackhole.Larger(verb.over)
                network.path(target).swallow = hole
                return "data vanishes" if verb.over is None else f"what is over {verb.over} bytes vanishes"
            case verbs.Roam():
                network.roam(target)
                return "has another address"
            case verbs.Rebind():
                network.rebind(target)
                return "the NAT has forgotten it"
            case verbs.RekeyNow():
                network.rekey(target)
                return "new keys"
            case verbs.Zombie():
                network.zombie(target, on=verb.on)
                return "forwards nothing" if verb.on else "forwards again"

    def _degrade(self, target: str, verb: verbs.Degrade) -> str:
        pair = self._stage.network.path(target)
        given = self._stage.world.scenario.topology.links
        if isinstance(verb.to, str):
            profile = links.path_profile(given, verb.to)
        else:
            present = replace(links.PERFECT, up=pair.up.profile, down=pair.down.profile)
            profile = links.link_profile(given, verb.to, present)
        pair.degrade(profile.up, Direction.UP)
        pair.degrade(profile.down, Direction.DOWN)
        return f"like {verb.to}" if isinstance(verb.to, str) else _figures(verb.to)


def computed(verb: verbs.Verb) -> Iterator[tuple[str, str]]:
    """The key and the text of each ``${...}`` that is worked out when `verb` is done."""
    if isinstance(verb, verbs.FAULTS):
        for key in ("machine", "tunnel", "client", "tunnels"):
            for word in many(getattr(verb, key, None)):
                for text in inside(word):
                    yield key, text


def _traffic(word: str) -> Traffic:
    protocol, _, port = word.partition("/")
    return Traffic(protocol, int(port or 0))


def _machine(verb: verbs.Fault) -> str:
    for part in ("machine", "tunnel", "client"):
        name = getattr(verb, part, None)
        if isinstance(name, str):
            return name
    raise AssertionError(f"{verb} names nobody")


def _figures(link: Link) -> str:
    """What a degradation changes, in words."""
    shown: dict[str, Callable[[object], str]] = {
        "delay": lambda value: str(Seconds(float(value))),  # type: ignore[arg-type]
        "jitter": lambda value: str(Seconds(float(value))),  # type: ignore[arg-type]
        "rate": lambda value: f"{float(value) / 1e6:g} Mbit/s",  # type: ignore[arg-type]
        "loss": lambda value: f"{float(value[0]):.1%}",  # type: ignore[index]
    }
    parts = []
    for name in ("delay", "jitter", "loss", "rate", "reorder", "duplicate", "corrupt", "mtu"):
        value = getattr(link, name)
        if value is not None:
            parts.append(f"{name} {shown[name](value) if name in shown else value}")
    return ", ".join(parts) or "unchanged"
