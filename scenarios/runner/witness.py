"""What became of a request that got no answer: which rule denied it, and whether its target saw anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edge.document import address_bytes
from edge.proto.forwarding import Action
from scenarios.casting import Member
from scenarios.checks import Plain
from scenarios.runner.stage import Stage

MOST_JUDGED = 50
"""Pairs whose routes are looked at: more of them say nothing new."""

_DENIALS = (Action.BLOCK, Action.REJECT)


class Witness:
    """Compares the PoP's and the targets' counters with what they were when the step began."""

    FIELDS = ("denied_by", "target_bytes")

    def __init__(self, stage: Stage, sender: Member, target: Member | None) -> None:
        self._watch(stage, [(sender, target)])

    @classmethod
    def of(cls, stage: Stage, pairs: Iterable[tuple[Member, Member | None]]) -> Witness:
        """Of several senders, each with a target."""
        witness = cls.__new__(cls)
        witness._watch(stage, list(pairs))
        return witness

    def _watch(self, stage: Stage, pairs: list[tuple[Member, Member | None]]) -> None:
        self._stage = stage
        self._pairs = [(sender, target) for sender, target in pairs if target is not None]
        self._vnets = list(dict.fromkeys(sender.host.vnet for sender, _ in pairs))
        self._hits_before = self._hits()
        self._bytes_before = self._bytes()

    def results(self) -> dict[str, Plain]:
        """`denied_by`: the rules of the senders' networks that denied a flow meanwhile."""
        return {"denied_by": self.denied_by(), "target_bytes": self.target_bytes()}

    def denied_by(self) -> list[str]:
        before = self._hits_before
        return list(
            dict.fromkeys(
                rule for (vnet, rule), hits in self._hits().items() if hits > before.get((vnet, rule), 0)
            )
        )

    def target_bytes(self) -> int | None:
        """Bytes that targets saw from their senders; None if no target is anybody of this world."""
        return self._bytes() - self._bytes_before if self._pairs else None

    def summary(self) -> str:
        """Such as: rule deny-guests, pbx saw 0 bytes; and which route is missing."""
        parts = [f"rule {rule}" for rule in self.denied_by()]
        targets = list(dict.fromkeys(target.actor.short_name for _, target in self._pairs))
        if parts and targets:
            parts.append(f"{targets[0] if len(targets) == 1 else 'targets'} saw {self.target_bytes()} bytes")
        return "; ".join([*filter(None, [", ".join(parts)]), *self.astray()])

    def astray(self) -> list[str]:
        """What route tables make of packets between the pairs, where they do not arrive or their answers do not."""
        verdicts = (
            self._stage.flows.judge(sender.actor.name, target.actor.name)
            for sender, target in self._pairs[:MOST_JUDGED]
            if sender.actor.vnet == target.actor.vnet and len(sender.actor.ip) == len(target.actor.ip)
        )
        return list(dict.fromkeys(f"{each.says}; fix: {each.fix}" for each in verdicts if not each.returns))

    def _hits(self) -> dict[tuple[str, str], int]:
        hits: dict[tuple[str, str], int] = {}
        snapshot = self._stage.network.snapshot()
        for vnet in self._vnets:
            for (rule, action), count in snapshot.vnet(vnet).rule_hits.items():
                if action in _DENIALS:
                    hits[vnet, rule] = hits.get((vnet, rule), 0) + count
        return hits

    def _bytes(self) -> int:
        """What a host has seen of an address is counted once, however many pairs name both."""
        seen = {(target.actor.name, sender.host.address): (sender, target) for sender, target in self._pairs}
        return sum(
            target.host.seen[sender.host.address].bytes
            for sender, target in seen.values()
            if sender.host.address in target.host.seen
        )


# What looks for the end of every long number again and again would take minutes for a text that is one.
_ADDRESSES = re.compile(r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)|[0-9A-Fa-f:]{0,39}:[0-9A-Fa-f:.]{0,39}")


def addresses_in(text: str) -> list[bytes]:
    """As in ``http://10.0.60.80:8000/``."""
    found = (address_bytes(word.rstrip(".")) for word in _ADDRESSES.findall(text))
    return [address for address in found if address is not None]


def named_in(stage: Stage, sender: Member, text: str) -> list[Member]:
    """The other hosts of the sender's network whose addresses stand in `text`."""
    found = set(addresses_in(text))
    members = stage.world.members.values()
    return [m for m in members if m.actor.ip in found and m is not sender and m.host.vnet == sender.host.vnet]


def address_of(stage: Stage, word: str) -> str:
    """The address that `word` is, or that of the actor with that name."""
    return word if address_bytes(word) is not None else stage.member(word).host.address


def who_has(stage: Stage, sender: Member, address: str) -> Member | None:
    """The host of the sender's network that has the address."""
    members = stage.world.members.values()
    return next((m for m in members if m.host.address == address and m.host.vnet == sender.host.vnet), None)
