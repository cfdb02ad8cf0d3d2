from __future__ import annotations

import sys
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.forwarding.policy import Action, Flow, Party, Policy, Rule, Selector, Verdict
from edge.proto.types import DropReason

GUEST = Party("mallory", "client", user="mallory", tags=("guest",))
ALICE = Party("alice", "client", user="alice", groups=("staff", "voice"))
HQ = Party("hq-a", "connector", site="hq")
PARTIES = [GUEST, ALICE, HQ, Party("bare")]
NETS = [
    "10.0.0.0/8",
    "10.0.50.0/24",
    "100.96.0.12/32",
    "0.0.0.0/0",
    "fd00::/8",
    "::/0",
    "::ffff:10.0.0.0/104",
]
ADDRESSES = [
    "10.0.50.60",
    "10.1.1.1",
    "100.96.0.12",
    "192.168.0.1",
    "fd00::1",
    "2001:db8::1",
    "::ffff:10.0.50.60",
]


def flow(
    ingress: Party = ALICE,
    egress: Party = HQ,
    source: str = "100.96.0.12",
    destination: str = "10.0.50.60",
    protocol: int = 17,
    sport: int = 4000,
    dport: int = 5060,
    icmp: tuple[int, int] = (-1, -1),
    vnet: str = "acme",
) -> Flow:
    return Flow(
        vnet,
        protocol,
        ip_address(source).packed,
        ip_address(destination).packed,
        sport,
        dport,
        *icmp,
        ingress,
        egress,
    )


def prefix(text: str) -> tuple[bytes, int]:
    net = ip_network(text)
    return net.network_address.packed, net.prefixlen


def policy(*rules: Rule, **kw) -> Policy:
    return Policy(rules, timer=kw.pop("timer", lambda: 0.0), **kw)


def test_the_first_match_decides() -> None:
    rules = policy(
        Rule(
            "deny-guests", Action.BLOCK, source=Selector(tags=("guest",)), destination=Selector(sites=("hq",))
        ),
        Rule("voice", Action.ALLOW, destination=Selector(sites=("hq",)), services=((17, 5060, 5060),)),
    )
    assert rules.decide(flow(ingress=GUEST)) == Verdict(
        Action.BLOCK, "deny-guests", DropReason.POLICY_BLOCKED
    )
    assert rules.decide(flow()) == Verdict(Action.ALLOW, "voice")
    assert rules.decide(flow(dport=5061)) == Verdict(Action.BLOCK, "default", DropReason.POLICY_BLOCKED)
    assert rules.hits == {("deny-guests", "block"): 1, ("voice", "allow"): 1, ("default", "block"): 1}


def test_log_notes_and_goes_on() -> None:
    rules = policy(Rule("note", Action.LOG), Rule("no", Action.REJECT))
    verdict = rules.decide(flow())
    assert verdict == Verdict(Action.REJECT, "no", DropReason.POLICY_REJECTED, ("note",))
    assert rules.hits == {("note", "log"): 1, ("no", "reject"): 1}


@pytest.mark.parametrize("protocol", [4, 41, 47, 132, 255])
def test_protocols_that_no_rule_names_fall_to_the_default(protocol: int) -> None:
    """P22: a tunnel in a tunnel does not slip through a rule about ports."""
    rules = policy(Rule("voice", Action.ALLOW, services=((17, 0, 65535), (6, 0, 65535))))
    assert rules.decide(flow(protocol=protocol, sport=0, dport=0)).rule == "default"


def test_a_rule_for_ipv4_never_matches_ipv6() -> None:
    """P13: not even an address that carries the same bits."""
    rules = policy(Rule("ten", Action.ALLOW, destination=Selector(prefixes=(prefix("0.0.0.0/0"),))))
    assert rules.decide(flow(destination="::ffff:10.0.50.60")).rule == "default"


def test_a_hook_is_asked_before_the_rules() -> None:
    def only_staff(asked: Flow) -> Verdict | None:
        return None if "staff" in asked.ingress.groups else Verdict(Action.BLOCK)

    rules = policy(Rule("all", Action.ALLOW), hooks=[only_staff])
    assert rules.decide(flow()).rule == "all"
    assert rules.decide(flow(ingress=GUEST)) == Verdict(
        Action.BLOCK, "hook:only_staff", DropReason.POLICY_BLOCKED
    )


def broken(asked: Flow) -> Verdict | None:
    raise RuntimeError


def leaving(asked: Flow) -> Verdict | None:
    sys.exit(1)


def babbling(asked: Flow):
    return "allow it, please"


@pytest.mark.parametrize("hook", [broken, leaving, babbling])
def test_a_hook_that_fails_is_a_denial_with_its_own_reason(hook) -> None:
    rules = policy(Rule("all", Action.ALLOW), hooks=[hook])
    assert rules.decide(flow()) == Verdict(Action.BLOCK, f"hook:{hook.__name__}", DropReason.HOOK_FAILED)


def test_a_hook_over_its_budget_is_a_denial_even_if_it_allows() -> None:
    clock = iter([0.0, 0.006, 1.0, 1.004])

    def slow(asked: Flow) -> Verdict:
        return Verdict(Action.ALLOW)

    rules = policy(hooks=[slow], hook_budget=0.005, timer=lambda: next(clock))
    assert rules.decide(flow()).reason is DropReason.HOOK_OVERRUN
    assert rules.decide(flow()).action is Action.ALLOW


async def eventually(asked: Flow) -> Verdict | None: ...


def test_what_cannot_work_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="same id"):
        policy(Rule("x", Action.ALLOW), Rule("x", Action.BLOCK))
    with pytest.raises(ValueError, match="must decide"):
        policy(default=Action.LOG)
    with pytest.raises(ValueError, match="async"):
        policy(hooks=[eventually])  # type: ignore[list-item]


def subset(values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


ranges = st.lists(st.sampled_from([(0, 0), (5060, 5060), (4000, 6000), (0, 65535)]), max_size=2).map(tuple)
selectors = st.builds(
    Selector,
    prefixes=subset([prefix(n) for n in NETS]),
    tunnels=subset(["mallory", "alice", "hq-a"]),
    sites=subset(["hq", "lab"]),
    clients=subset(["alice", "hq-a"]),
    users=subset(["alice", "bob"]),
    groups=subset(["voice", "admins"]),
    tags=subset(["guest"]),
    kinds=subset(["client", "connector"]),
    ports=ranges,
)
services = st.lists(st.sampled_from([(17, 5060, 5060), (6, 1, 1024), (17, 0, 65535)]), max_size=2).map(tuple)
rules_of_one = st.builds(
    Rule,
    id=st.just("r"),
    action=st.sampled_from(list(Action)),
    source=selectors,
    destination=selectors,
    protocols=subset([6, 17, 1, 58]),
    services=services,
    icmp=subset([(1, 8), (58, 128)]),
    vnets=subset(["acme", "umbrella"]),
)
flows = st.builds(
    flow,
    ingress=st.sampled_from(PARTIES),
    egress=st.sampled_from(PARTIES),
    source=st.sampled_from(ADDRESSES),
    destination=st.sampled_from(ADDRESSES),
    protocol=st.sampled_from([1, 6, 17, 47, 58]),
    sport=st.sampled_from([0, 4000, 5060]),
    dport=st.sampled_from([0, 80, 5060]),
    icmp=st.sampled_from([(-1, -1), (8, 0), (128, 0)]),
    vnet=st.sampled_from(["acme", "umbrella", "third"]),
)


def reference(rules: list[Rule], asked: Flow) -> str:
    """The same meaning, written slowly and differently: every field is a set of what it admits."""

    def side(selector: Selector, address: bytes, port: int, party: Party) -> list[bool]:
        text = ip_address(address)
        own = {
            "tunnels": {party.name},
            "sites": {party.site} - {""},
            "clients": {party.name} if party.kind == "client" else set(),
            "users": {party.user} - {""},
            "groups": set(party.groups),
            "tags": set(party.tags),
            "kinds": {party.kind},
        }
        checks = [bool(set(getattr(selector, f)) & have) for f, have in own.items() if getattr(selector, f)]
        if selector.prefixes:
            nets = [ip_network((ip_address(p), n)) for p, n in selector.prefixes]
            checks.append(any(text.version == net.version and text in net for net in nets))
        if selector.ports:
            checks.append(any(port in range(low, high + 1) for low, high in selector.ports))
        return checks

    for rule in rules:
        checks = side(rule.source, asked.source, asked.source_port, asked.ingress)
        checks += side(rule.destination, asked.destination, asked.destination_port, asked.egress)
        if rule.protocols:
            checks.append(asked.protocol in set(rule.protocols))
        if rule.services:
            checks.append(
                any(
                    asked.protocol == p and asked.destination_port in range(a, b + 1)
                    for p, a, b in rule.services
                )
            )
        if rule.icmp:
            checks.append((asked.protocol, asked.icmp_type) in set(rule.icmp))
        if rule.vnets:
            checks.append(asked.vnet in set(rule.vnets))
        if all(checks) and rule.action is not Action.LOG:
            return f"{rule.id}:{rule.action}"
    return "default:block"


@settings(max_examples=300, deadline=None)
@given(st.lists(rules_of_one, max_size=6), flows)
def test_against_a_slow_independent_evaluator(rules: list[Rule], asked: Flow) -> None:
    named = [Rule(f"r{n}", *[getattr(r, f) for f in list(Rule.__slots__)[1:]]) for n, r in enumerate(rules)]
    verdict = policy(*named).decide(asked)
    assert f"{verdict.rule}:{verdict.action}" == reference(named, asked)
    assert (verdict.reason is None) == (verdict.action is Action.ALLOW)
