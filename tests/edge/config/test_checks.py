from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge.config import EdgeConfig, Kind, TunnelConfig, VnetConfig, check, public_key
from edge.document import Prefix
from edge.proto.forwarding.policy import Action, Rule, Selector
from edge.proto.ip import build_udp, check_addresses, parse_untrusted
from edge.proto.types import Address, BadPacket, DropReason
from edge.proto.wireguard import Identity
from edge.proto.wireguard.noise import RemoteStatic

PRIVATE = bytes([7] * 32)
P = 2**255 - 19


def client(name: str = "alice", n: int = 1, vnet: str = "acme", **more: Any) -> TunnelConfig:
    key = public_key(bytes([n] * 32))
    return TunnelConfig(name, vnet, Kind.CLIENT, key, addresses=(bytes([100, 96, 0, 10 + n]),), **more)


def pop(*tunnels: TunnelConfig, rules: tuple[Rule, ...] = ()) -> EdgeConfig:
    pool = Prefix.parse("100.96.0.0/24")
    vnets = {"acme": VnetConfig("acme", pool, policy=rules), "other": VnetConfig("other", pool)}
    return EdgeConfig("lab", ("127.0.0.1", 51820), PRIVATE, vnets, {t.name: t for t in tunnels})


def number(n: int) -> bytes:
    return n.to_bytes(32, "little")


BASE = int.from_bytes(public_key(bytes([1] * 32)), "little")


@pytest.mark.parametrize(
    "key",
    [
        number(BASE | 2**255),
        number(P + 9),
        number(2**255 - 1),
        number(9 | 2**255),
        bytes(31),
        b"",
        bytes([9] * 33),
    ],
)
def test_a_key_that_no_handshake_accepts_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError):
        RemoteStatic(key, None, Identity.from_bytes(PRIVATE))
    (finding,) = check(pop(replace(client(), public_key=key)))
    assert finding.path == ("tunnels", "alice", "public_key")
    assert "wg pubkey" in finding.fix


@pytest.mark.parametrize("key", [number(9), number(P - 2), number(BASE)])
def test_a_key_that_a_handshake_accepts_is_none_to_refuse(key: bytes) -> None:
    RemoteStatic(key, None, Identity.from_bytes(PRIVATE))
    assert check(pop(replace(client(), public_key=key))) == []


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_preshared_key_of_another_size_is_refused(key: bytes) -> None:
    (finding,) = check(pop(client(preshared_key=key)))
    assert finding.path == ("tunnels", "alice", "preshared_key_file")


def selecting(word: str, name: str, side: str) -> Rule:
    selector = Selector(**{word + "s": (name,)})  # type: ignore[arg-type]
    return Rule("r", Action.BLOCK, **{"source" if side == "from" else "destination": selector})  # type: ignore[arg-type]


HAS: dict[str, dict[str, Any]] = {
    "tag": {"tags": ("guest",)}, "group": {"groups": ("guest",)}, "user": {"user": "guest"},
}  # fmt: skip


@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize("word", HAS)
def test_a_slip_in_a_rule_is_refused(word: str, side: str) -> None:
    (finding,) = check(pop(client(**HAS[word]), rules=(selecting(word, "gest", side),)))
    assert finding.path == ("vnets", "acme", "policy", 0, side, word)
    assert f"the {word} 'gest'" in finding.message
    assert "did you mean 'guest'?" in finding.fix


@pytest.mark.parametrize("word", HAS)
def test_a_rule_may_come_before_the_first_whom_it_names(word: str) -> None:
    rules = (selecting(word, "guest", "from"),)
    assert check(pop(rules=rules)) == []
    assert check(pop(client(), rules=rules)) == []
    assert check(pop(client(**HAS[word]), rules=rules)) == []
    assert check(pop(client(**HAS[word]), rules=(selecting(word, "staff", "from"),))) == []
    assert check(pop(client(**HAS[word]), rules=(selecting(word, "guest2", "from"),))) == []


@pytest.mark.parametrize("word", HAS)
def test_what_another_network_calls_its_own_is_no_slip(word: str) -> None:
    theirs: dict[str, Any] = {key: "gest" if key == "user" else ("gest",) for key in HAS[word]}
    here, there = client(**HAS[word]), client("bob", 2, "other", **theirs)
    rules = (selecting(word, "gest", "from"),)
    assert check(pop(here, there, rules=rules)) == []
    # But what only the other network has is nothing to be meant here.
    assert check(pop(there, rules=(selecting(word, "geste", "from"),))) == []


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [("127.0.0.1", "[2001:db8::1]:51820"), ("::1", "192.0.2.1:51820"), ("0.0.0.0", "[2001:db8::1]:51820")],
)
def test_peers_must_dial_the_family_of_the_listener(listen: str, endpoint: str) -> None:
    (finding,) = check(replace(pop(), listen=(listen, 51820), endpoint=endpoint))
    assert finding.path == ("endpoint",)
    assert listen in finding.message


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("127.0.0.1", "192.0.2.1:51820"), ("::1", "[2001:db8::1]:51820"), ("0.0.0.0", "pop.example:51820"),
        ("::", "192.0.2.1:51820"), ("::", "[2001:db8::1]:51820"), ("::1", ""),
    ],
)  # fmt: skip
def test_endpoints_that_a_listener_can_serve(listen: str, endpoint: str) -> None:
    assert check(replace(pop(), listen=(listen, 51820), endpoint=endpoint)) == []


@pytest.mark.parametrize(
    ("listen", "peer", "fix"),
    [
        ("127.0.0.1", ("2001:db8::1", 5), "other address"),
        ("::1", ("192.0.2.1", 5), "other address"),
        ("::", ("192.0.2.1", 5), '"[::ffff:192.0.2.1]:5"'),
    ],
)
def test_a_tunnel_is_dialled_in_the_family_of_the_listener(listen: str, peer: Address, fix: str) -> None:
    (finding,) = check(replace(pop(client(endpoint=peer)), listen=(listen, 51820)))
    assert finding.path == ("tunnels", "alice", "endpoint")
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("listen", "peer"),
    [("127.0.0.1", ("192.0.2.1", 5)), ("::1", ("2001:db8::1", 5)), ("::", ("::ffff:192.0.2.1", 5))],
)
def test_tunnels_that_a_listener_can_dial(listen: str, peer: Address) -> None:
    assert check(replace(pop(client(endpoint=peer)), listen=(listen, 51820))) == []


@pytest.mark.parametrize(
    "route",
    [
        "0.1.0.0/16",
        "127.1.0.0/16",
        "169.254.1.0/24",
        "224.0.0.0/8",
        "250.0.0.0/8",
        "::/96",
        "::1:0/112",
        "::ffff:10.0.0.0/104",
        "::ffff:0:a00:0/104",
        "64:ff9b::a00:0/104",
        "64:ff9b:1::/64",
        "2001:0:1::/48",
        "2002:a00::/24",
        "fe80::/64",
        "ff05::/16",
    ],
)
def test_what_the_data_path_never_carries_is_no_route(route: str) -> None:
    """C7, P13, P14: in one place a mistake with a fix, in the other a counted drop; of the same prefixes."""
    prefix = Prefix.parse(route)
    size = len(prefix.address)
    some, other = (
        prefix.address[:-1] + b"\x05",
        (b"\x0a" if size == 4 else b"\xfd") + bytes(size - 2) + b"\x01",
    )
    for source, destination in ((some, other), (other, some)):
        with pytest.raises(BadPacket) as caught:
            check_addresses(parse_untrusted(build_udp(source, destination, 1, 2, b"")))
        assert caught.value.reason in (DropReason.BOGON, DropReason.MULTICAST)
    hq = TunnelConfig("hq", "acme", Kind.CONNECTOR, public_key(bytes([3] * 32)), routes=(prefix,))
    (finding,) = check(pop(hq))
    assert finding.path == ("tunnels", "hq", "routes", 0)
    assert finding.fix


def test_a_wide_route_may_hold_a_prefix_that_embeds_ipv4() -> None:
    hq = TunnelConfig(
        "hq", "acme", Kind.CONNECTOR, public_key(bytes([3] * 32)), routes=(Prefix.parse("2000::/3"),)
    )
    assert check(pop(hq)) == []


def test_port_0_is_nowhere() -> None:
    (finding,) = check(pop(client(endpoint=("192.0.2.1", 0))))
    assert finding.path == ("tunnels", "alice", "endpoint")
    (finding,) = check(replace(pop(), endpoint="pop.example.net:0"))
    assert finding.path == ("endpoint",)
