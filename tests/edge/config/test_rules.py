from __future__ import annotations

import pytest

from edge.config import RuleFile, rule
from edge.document import load, schema
from edge.errors import ConfigError
from edge.proto.forwarding.policy import Rule


def parse(text: str) -> Rule:
    return rule(load(f"{{id: r, action: allow, {text}}}", RuleFile))


@pytest.mark.parametrize("word", ["vnet", "tunnel", "site", "client", "user", "group", "tag", "kind"])
@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "no value"),
        ("[null]", "no value"),
        ('""', "empty word"),
        ("[]", "empty list"),
        ('[""]', "empty word"),
    ],
)
def test_a_selector_without_a_word_does_not_widen_a_rule(side: str, word: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(f"{side}: {{{word}: {value}}}")


@pytest.mark.parametrize("word", ["address", "cidr", "port"])
@pytest.mark.parametrize(("value", "why"), [("", "no value"), ("[]", "empty list")])
def test_nor_does_one_without_an_address_or_a_port(word: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(f"from: {{{word}: {value}}}")


@pytest.mark.parametrize("key", ["from", "to", "ports", "icmp", "protocol"])
def test_a_key_of_a_rule_without_a_value_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="no value"):
        parse(f"{key}: null")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("from: {}", "selects nothing"),
        ("to: {}", "selects nothing"),
        ("from: {any: }", "no value"),
        ("from: {any: false}", "Invalid"),
        ("from: {any: true, tag: guest}", "beside other keys"),
        ("from: {address: 10.0.0.0/8, cidr: 11.0.0.0/8}", "are the same"),
        ("from: {kind: cleint}", "did you mean 'client'"),
        ("ports: []", "empty list"),
        ('ports: "udp/5060, udp/5061"', "is not a port"),
        ("ports: gre/5", "is not a port"),
        ("ports: 9-8", "is not a range"),
        ("ports: 65536", "is not a range"),
        ("ports: true", "is not a port"),
        ("from: {port: 0}", "is not a range"),
        ("from: {port: udp/53}", "is not a port here"),
        ("icmp: echo-request, ports: 53", "no packet has both"),
        ("icmp: 8, from: {port: 53}", "no packet has both"),
        ("icmp: 8, to: {port: 53}", "no packet has both"),
        ("protocol: icmp, ports: 53", "icmp has no ports"),
        ("protocol: [icmp, udp], ports: udp/53", "icmp has no ports"),
        ("protocol: icmp, from: {port: 53}", "icmp has no ports"),
        ("protocol: gre, to: {port: 5}", "gre has no ports"),
        ("protocol: 99, to: {port: 5}", "99 has no ports"),
        ("protocol: tcp, ports: udp/53", "none of `ports` is of protocol tcp"),
        ("protocol: [tcp, udp], ports: udp/53", "none of `ports` is of protocol tcp"),
        ("protocol: sctp, ports: 53", "none of `ports` is of protocol sctp"),
        ("protocol: udp, ports: [udp/53, tcp/80]", "port 80 is of a protocol"),
        ("protocol: udp, icmp: echo-request", "none of the types"),
        ("protocol: icmpv6, icmp: timestamp-request", "none of the types"),
        ("protocol: upd", "did you mean 'udp'"),
        ("protocol: 256", "unknown protocol"),
        ("icmp: echo-requst", "did you mean 'echo-request'"),
        ("icmp: 256", "unknown ICMP type"),
    ],
)
def test_what_can_never_match_or_says_two_things_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(text)


@pytest.mark.parametrize(
    "kind", ["unreachable", "packet-too-big", "time-exceeded", "parameter-problem", 3, 5, 11, 12]
)
@pytest.mark.parametrize("form", ["icmp: {}", "icmp: [echo-request, {}]", "protocol: icmp, icmp: {}"])
def test_icmp_errors_never_reach_a_rule(kind: str | int, form: str) -> None:
    with pytest.raises(ConfigError, match="on which no rule decides"):
        parse(form.format(kind))


def test_an_error_of_one_family_may_be_a_question_of_the_other() -> None:
    assert parse("icmp: 8").icmp == ((1, 8),)
    assert parse("icmp: 128").icmp == ((1, 128), (58, 128))
    with pytest.raises(ConfigError, match="none of the types"):
        parse("protocol: icmpv6, icmp: 8")


def test_what_remains_is_meant() -> None:
    assert parse("protocol: udp, ports: 53").services == ((6, 53, 53), (17, 53, 53))
    assert parse("protocol: icmp, icmp: echo-request").icmp == ((1, 8), (58, 128))
    assert parse("from: {any: true}, to: {tag: [guest, staff]}").destination.tags == ("guest", "staff")
    assert parse("from: {cidr: 10.0.0.0/8, port: 1024-65535}").source.ports == ((1024, 65535),)


def test_editors_offer_only_what_is_taken() -> None:
    text = str(schema(RuleFile))
    assert "echo-request" in text
    assert "unreachable" not in text


def test_icmp_for_ipv6_has_the_name_that_iana_gives_it_too() -> None:
    assert parse("protocol: ipv6-icmp") == parse("protocol: icmpv6") == parse("protocol: 58")
