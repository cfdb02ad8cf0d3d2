"""Policy: ordered rules, the first match decides; hooks before them. One decision per flow, as it began.

Each rule has exactly one action. ``log`` notes its rule id and goes on; the others end the walk. What no rule
names, a protocol nobody listed included, falls to the default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from inspect import iscoroutinefunction
from typing import TypeAlias

from edge.proto.types import DropReason

DEFAULT_RULE = "default"


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
    """What is decided about. Ports are 0 where the protocol has none, ICMP type and code -1 if it is none."""

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
    """The decision, who made it (a rule id or ``hook:<name>``) and the ``log`` rules on the way."""

    action: Action
    rule: str = ""  # a hook leaves it: it is filled in
    reason: DropReason | None = None
    logged: tuple[str, ...] = ()


Hook: TypeAlias = Callable[[Flow], Verdict | None]
"""Decides a flow, or None to leave it to the next hook and then to the rules."""

Prefix: TypeAlias = tuple[bytes, int]
PortRange: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Selector:
    """One side of a rule. An empty field does not restrict; all given must match, each by any value."""

    prefixes: tuple[Prefix, ...] = ()
    tunnels: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()

    def matches(self, address: bytes, port: int, party: Party) -> bool:
        return (
            (not self.prefixes or any(_holds(prefix, address) for prefix in self.prefixes))
            and (not self.tunnels or party.name in self.tunnels)
            and (not self.sites or (party.site != "" and party.site in self.sites))
            and (not self.clients or (party.kind == "client" and party.name in self.clients))
            and (not self.users or (party.user != "" and party.user in self.users))
            and (not self.groups or any(group in self.groups for group in party.groups))
            and (not self.tags or any(tag in self.tags for tag in party.tags))
            and (not self.kinds or party.kind in self.kinds)
            and (not self.ports or any(low <= port <= high for low, high in self.ports))
        )


ANYBODY = Selector()


@dataclass(frozen=True, slots=True)
class Rule:
    """`services`: (protocol, lowest, highest destination port); `icmp`: (protocol, type); empty: any."""

    id: str
    action: Action
    source: Selector = ANYBODY
    destination: Selector = ANYBODY
    protocols: tuple[int, ...] = ()
    services: tuple[tuple[int, int, int], ...] = ()
    icmp: tuple[tuple[int, int], ...] = ()
    vnets: tuple[str, ...] = ()

    def matches(self, flow: Flow) -> bool:
        protocol, port = flow.protocol, flow.destination_port
        return (
            (not self.protocols or protocol in self.protocols)
            and (
                not self.services
                or any(protocol == which and low <= port <= high for which, low, high in self.services)
            )
            and (not self.icmp or (protocol, flow.icmp_type) in self.icmp)
            and (not self.vnets or flow.vnet in self.vnets)
            and self.destination.matches(flow.destination, port, flow.egress)
            and self.source.matches(flow.source, flow.source_port, flow.ingress)
        )


class Policy:
    """The rules and hooks of one virtual network. `timer` (seconds) measures a hook against `hook_budget`."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        default: Action = Action.BLOCK,
        hooks: Iterable[Hook] = (),
        hook_budget: float = 0.005,
        timer: Callable[[], float],
    ) -> None:
        self.rules = tuple(rules)
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) != len(ids):
            raise ValueError("two rules have the same id: counters and verdicts go by id")
        if default is Action.LOG:
            raise ValueError("the default must decide: allow, block or reject")
        hooks = tuple(hooks)
        for hook in hooks:
            if iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__):
                raise ValueError(f"{_hook_name(hook)} is async: nothing can wait for it here")
        self.default = default
        self.hits: Counter[tuple[str, str]] = Counter()
        """(rule id, action) -> flows decided; a flow that is decided afresh counts again."""
        self._hooks = tuple((_hook_name(hook), hook) for hook in hooks)
        self._budget = hook_budget
        self._timer = timer

    def decide(self, flow: Flow) -> Verdict:
        """Never raises: a hook that fails or overruns its budget is a denial with its own reason."""
        verdict = self._ask_hooks(flow) or self._walk(flow)
        self.hits[verdict.rule, verdict.action] += 1
        return verdict

    def _ask_hooks(self, flow: Flow) -> Verdict | None:
        for name, hook in self._hooks:
            started = self._timer()
            try:
                verdict = hook(flow)
                decided = verdict is None or (
                    isinstance(verdict, Verdict) and verdict.action is not Action.LOG
                )
            except KeyboardInterrupt:  # from the person at the terminal, not from the hook
                raise
            except BaseException:  # sys.exit() in a hook does not end the PoP either
                decided = False
            if not decided:
                return Verdict(Action.BLOCK, name, DropReason.HOOK_FAILED)
            if self._timer() - started > self._budget:
                return Verdict(Action.BLOCK, name, DropReason.HOOK_OVERRUN)
            if verdict is not None:
                return Verdict(verdict.action, name, _reason(verdict.action))
        return None

    def _walk(self, flow: Flow) -> Verdict:
        logged: tuple[str, ...] = ()
        for rule in self.rules:
            if rule.matches(flow):
                if rule.action is Action.LOG:
                    logged += (rule.id,)
                    self.hits[rule.id, Action.LOG] += 1
                    continue
                return Verdict(rule.action, rule.id, _reason(rule.action), logged)
        return Verdict(self.default, DEFAULT_RULE, _reason(self.default), logged)


def _reason(action: Action) -> DropReason | None:
    if action is Action.REJECT:
        return DropReason.POLICY_REJECTED
    return DropReason.POLICY_BLOCKED if action is Action.BLOCK else None


def _hook_name(hook: Hook) -> str:
    return f"hook:{getattr(hook, '__name__', type(hook).__name__)}"


def _holds(prefix: Prefix, address: bytes) -> bool:
    network, length = prefix
    if len(network) != len(address):
        return False  # a rule for IPv4 never matches IPv6, in whatever form it carries the address
    bits = len(network) * 8 - length
    return int.from_bytes(network, "big") >> bits == int.from_bytes(address, "big") >> bits
