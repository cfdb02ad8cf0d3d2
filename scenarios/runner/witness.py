"""What became of a request that got no answer: which rule denied it, and whether its target saw anything."""

from __future__ import annotations

from edge.proto.forwarding import Action
from scenarios.checks import Plain
from scenarios.runner.stage import Stage
from scenarios.world import Member

_DENIALS = (Action.BLOCK, Action.REJECT)


class Witness:
    """Compares the PoP's and the target's counters with what they were when the step began."""

    FIELDS = ("denied_by", "target_bytes")

    def __init__(self, stage: Stage, sender: Member, target: Member | None) -> None:
        self._stage = stage
        self._sender = sender
        self._target = target
        self._hits_before = self._hits()
        self._bytes_before = self._bytes()

    def results(self) -> dict[str, Plain]:
        """`denied_by`: the rules of the sender's network that denied a flow meanwhile."""
        return {"denied_by": self.denied_by(), "target_bytes": self.target_bytes()}

    def denied_by(self) -> list[str]:
        return [rule for rule, hits in self._hits().items() if hits > self._hits_before.get(rule, 0)]

    def target_bytes(self) -> int | None:
        """Bytes that the target saw from the sender; None if the target is nobody of this world."""
        return None if self._target is None else self._bytes() - self._bytes_before

    def summary(self) -> str:
        """Such as: rule deny-guests, pbx saw 0 bytes."""
        parts = [f"rule {rule}" for rule in self.denied_by()]
        if parts and self._target is not None:
            parts.append(f"{self._target.actor.short_name} saw {self.target_bytes()} bytes")
        return ", ".join(parts)

    def _hits(self) -> dict[str, int]:
        hits: dict[str, int] = {}
        for (rule, action), count in (
            self._stage.network.snapshot().vnet(self._sender.host.vnet).rule_hits.items()
        ):
            if action in _DENIALS:
                hits[rule] = hits.get(rule, 0) + count
        return hits

    def _bytes(self) -> int:
        if self._target is None or self._sender.host.address not in self._target.host.seen:
            return 0
        return self._target.host.seen[self._sender.host.address].bytes
