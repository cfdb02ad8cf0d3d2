"""What policy is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edge.proto.types import DropReason


class Action(StrEnum):
    """What a rule does with a flow."""

    ALLOW = "allow"
    BLOCK = "block"
    REJECT = "reject"  # block, and tell the sender by ICMP or RST
    LOG = "log"  # note it and go on with the next rule


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a flow: the tunnel that serves its address, as rules and hooks see it."""

    name: str
    kind: str = "client"
    site: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """What is decided about, as its initiator sent it. A later fragment has no ports: it never gets here.

    Ports are 0 where the protocol has none, ICMP type and code -1 where it is none.
    """

    vnet: str
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    icmp_type: int
    icmp_code: int
    ingress: Party
    egress: Party


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, who made it (a rule id or ``hook:<name>``) and the ``log`` rules met on the way."""

    action: Action
    rule: str = ""  # a hook leaves it: it is filled in
    reason: DropReason | None = None
    logged: tuple[str, ...] = ()


def decided(action: Action, rule: str) -> Verdict:
    """The verdict of a rule, a hook or the default."""
    if action is Action.ALLOW:
        return Verdict(action, rule)
    rejected = action is Action.REJECT
    return Verdict(action, rule, DropReason.POLICY_REJECTED if rejected else DropReason.POLICY_BLOCKED)
