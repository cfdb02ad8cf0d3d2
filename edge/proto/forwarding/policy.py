"""Policy: ordered rules, the first match decides; hooks before them. One decision per flow, as it began.

Each rule has exactly one action. ``log`` notes its rule id and goes on; the others end the walk. What no rule
names, a protocol nobody listed included, falls to the default: GRE is judged as GRE, not by what is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from edge.proto.forwarding.hooks import DEFAULT_BUDGET, Hook, HookChain
from edge.proto.forwarding.selector import (
    ANYBODY,
    Matcher,
    PortRange,
    Prefix,
    Selector,
    match_ports,
    match_side,
)
from edge.proto.forwarding.verdict import Action, Flow, Party, Verdict, decided

__all__ = [
    "ANYBODY",
    "DEFAULT_RULE",
    "Action",
    "Flow",
    "Hook",
    "Party",
    "Policy",
    "PortRange",
    "Prefix",
    "Rule",
    "Selector",
    "Verdict",
]

DEFAULT_RULE = "default"
_ICMP = (1, 58)


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


class Policy:
    """The rules and hooks of one virtual network. `timer` (seconds) measures a hook against `hook_budget`."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        default: Action = Action.BLOCK,
        hooks: Iterable[Hook] = (),
        hook_budget: float = DEFAULT_BUDGET,
        timer: Callable[[], float],
    ) -> None:
        self.rules = tuple(rules)
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) != len(ids):
            raise ValueError("two rules have the same id: counters and verdicts go by id")
        if default is Action.LOG:
            raise ValueError("the default must decide: allow, block or reject")
        self.default = default
        self.hits: Counter[tuple[str, str]] = Counter()
        """(rule id, action) -> flows decided; a flow that is decided afresh counts again."""
        self.hooks = HookChain(hooks, hook_budget, timer)
        self._default = decided(default, DEFAULT_RULE)
        # A flow walks only the rules that can match its protocol.
        self._walks = {protocol: self._compile(protocol) for protocol in _named(self.rules)}
        self._other = self._compile(None)

    def decide(self, flow: Flow) -> Verdict:
        """The verdict, counted. Never raises: a hook that fails or overruns is a denial."""
        verdict = self.evaluate(flow)
        hits = self.hits
        hits[verdict.rule, verdict.action] += 1
        for rule in verdict.logged:
            hits[rule, Action.LOG] += 1
        return verdict

    def evaluate(self, flow: Flow) -> Verdict:
        """The verdict on a flow that no packet stands for: the same code, not counted."""
        return self.hooks.ask(flow) or self._walk(flow)

    def _walk(self, flow: Flow) -> Verdict:
        protocol = flow.protocol
        source, ingress = flow.source, flow.ingress
        destination, egress = flow.destination, flow.egress
        port = flow.destination_port
        upper = flow.icmp_type if protocol in _ICMP else port
        logged: tuple[str, ...] = ()
        verdict: Verdict | None
        for rule, verdict, uppers, match_source, match_destination, ports in self._walks.get(
            protocol, self._other
        ):
            if (
                (uppers is None or upper in uppers)
                and (match_source is None or match_source(source, ingress))
                and (match_destination is None or match_destination(destination, egress))
                and (ports is None or _ports_and_vnet(ports, flow))
            ):
                if verdict is None:
                    logged += (rule,)
                    continue
                break
        else:
            verdict = self._default
        return Verdict(verdict.action, verdict.rule, verdict.reason, logged) if logged else verdict

    def _compile(self, protocol: int | None) -> tuple[_Step, ...]:
        """The steps of a flow of `protocol`; None stands for every protocol that no rule names."""
        return tuple(_step(rule, protocol) for rule in self.rules if _concerns(rule, protocol))


_Extras: TypeAlias = tuple[Container[int] | None, Container[int] | None, Container[str] | None]
_Step: TypeAlias = tuple[
    str,  # rule id
    Verdict | None,  # None: log and go on
    Container[int] | None,  # destination ports of the services, or ICMP types
    Matcher | None,  # source side
    Matcher | None,  # destination side
    _Extras | None,  # what few rules have: selectors' source and destination ports, virtual networks
]


def _ports_and_vnet(extras: _Extras, flow: Flow) -> bool:
    source_ports, destination_ports, vnets = extras
    return (
        (source_ports is None or flow.source_port in source_ports)
        and (destination_ports is None or flow.destination_port in destination_ports)
        and (vnets is None or flow.vnet in vnets)
    )


def _named(rules: Iterable[Rule]) -> set[int]:
    """Every protocol that some rule speaks of."""
    return {
        protocol
        for rule in rules
        for protocol in (
            *rule.protocols,
            *(which for which, _, _ in rule.services),
            *(p for p, _ in rule.icmp),
        )
    }


def _concerns(rule: Rule, protocol: int | None) -> bool:
    return (
        (not rule.protocols or protocol in rule.protocols)
        and (not rule.services or any(which == protocol for which, _, _ in rule.services))
        and (not rule.icmp or any(which == protocol for which, _ in rule.icmp))
    )


def _step(rule: Rule, protocol: int | None) -> _Step:
    uppers: Container[int] | None = None
    if rule.icmp and rule.services:
        uppers = ()  # nothing has both a type and a port
    elif rule.icmp:
        uppers = frozenset(kind for which, kind in rule.icmp if which == protocol)
    elif rule.services:
        uppers = match_ports((first, last) for which, first, last in rule.services if which == protocol)
    source_ports, destination_ports = rule.source.ports, rule.destination.ports
    extras: _Extras | None = None
    if source_ports or destination_ports or rule.vnets:
        extras = (
            match_ports(source_ports) if source_ports else None,
            match_ports(destination_ports) if destination_ports else None,
            frozenset(rule.vnets) if rule.vnets else None,
        )
    return (
        rule.id,
        None if rule.action is Action.LOG else decided(rule.action, rule.id),
        uppers,
        match_side(rule.source),
        match_side(rule.destination),
        extras,
    )
