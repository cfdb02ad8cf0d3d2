"""Names of servers: which of their addresses are dialled."""

from __future__ import annotations

import socket
import threading

import pytest
import trio

from connectors.profile import MasqueServer, Profile, WireGuardServer
from connectors.resolve import (
    MOST_ADDRESSES,
    Dialled,
    candidates,
    candidates_aside,
    has_names,
    lookup,
    others_first,
    resolve,
)
from edge.document import HostPort
from edge.errors import FabricUnavailable, Refused

NAMES = {
    "both.example": ["2001:db8::1", "192.0.2.1", "192.0.2.2"],
    "four.example": ["192.0.2.9"],
    "six.example": ["2001:db8::9"],
    "sink.example": ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:10.0.50.7"],
    "nearly.example": ["0.0.0.0", "::ffff:10.0.50.7", "192.0.2.9"],
    "many.example": [f"192.0.{high}.{low}" for high in range(4) for low in range(1, 251)],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def profile(masque: str, wireguard: str) -> Profile:
    return Profile(
        name="a",
        kind=None,
        tunnel="auto",
        addresses=(),
        mtu=1280,
        masque=MasqueServer(HostPort((masque, 443)), masque, b"token") if masque else None,
        wireguard=WireGuardServer(HostPort((wireguard, 51820)), bytes(32), bytes(32)) if wireguard else None,
    )


@pytest.mark.parametrize(
    ("masque", "wireguard", "dialled"),
    [
        ("both.example", "", ["2001:db8::1"]),
        ("", "both.example", ["2001:db8::1"]),
        ("four.example", "four.example", ["192.0.2.9", "192.0.2.9"]),
        ("both.example", "four.example", ["192.0.2.1", "192.0.2.2", "192.0.2.9"]),
        ("four.example", "both.example", ["192.0.2.9", "192.0.2.1"]),
        ("both.example", "both.example", ["2001:db8::1", "2001:db8::1"]),
    ],
)
def test_all_are_of_the_ip_version_that_both_servers_have(masque: str, wireguard: str, dialled: list[str]):
    found = resolve(profile(masque, wireguard))
    assert [address for address, _ in found.addresses] == dialled
    assert found.any_address == ("::" if ":" in dialled[0] else "0.0.0.0")


def test_two_servers_without_a_version_in_common_are_refused():
    with pytest.raises(Refused, match="no address of one IP version"):
        resolve(profile("six.example", "four.example"))


def test_a_name_without_an_address_is_a_matter_of_this_machine():
    with pytest.raises(FabricUnavailable, match="getent ahosts nowhere.example"):
        lookup(HostPort(("nowhere.example", 443)))


def test_of_each_ip_version_there_is_a_candidate_in_the_order_of_the_system():
    found = candidates(profile("both.example", "both.example"))
    assert [each.addresses[0][0] for each in found] == ["2001:db8::1", "192.0.2.1"]
    (only,) = candidates(profile("both.example", "four.example"))
    assert only.wireguard == ("192.0.2.9", 51820)


def test_what_does_not_answer_comes_last():
    six, four = candidates(profile("both.example", "both.example"))
    assert others_first([six, four], six) == [four, six]
    assert others_first([six, four], four) == [six, four]
    assert others_first([six], six) == [six]
    new = Dialled(None, (("192.0.2.7", 443),))
    assert others_first([six, new], four) == [six, new], "as the system prefers"


def test_addresses_that_no_server_has_are_not_dialled():
    assert lookup(HostPort(("nearly.example", 443))) == (("192.0.2.9", 443),)
    with pytest.raises(FabricUnavailable, match=r"no server has 0\.0\.0\.0, ::, .*\n.*fix: .*sink\.example"):
        lookup(HostPort(("sink.example", 443)))


def test_a_name_with_a_thousand_addresses_counts_for_a_few():
    assert len(resolve(profile("many.example", "")).masque) == MOST_ADDRESSES


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
def test_what_cannot_be_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.undo()
    with pytest.raises(Refused, match="cannot be the name of a server"):
        lookup(HostPort((name, 443)))


@pytest.mark.parametrize(
    ("masque", "wireguard", "names"),
    [
        ("both.example", "", True),
        ("192.0.2.1", "four.example", True),
        ("192.0.2.1", "2001:db8::1", False),
        ("", "fe80::1%eth0", False),
    ],
)
def test_an_address_is_no_name(masque: str, wireguard: str, names: bool):
    assert has_names(profile(masque, wireguard)) is names


def test_the_order_of_pops_is_no_difference():
    one, two = ("192.0.2.1", 443), ("192.0.2.2", 443)
    assert Dialled(None, (one, two)).same_as(Dialled(None, (two, one)))
    assert not Dialled(None, (one, two)).same_as(Dialled(None, (one,)))
    assert not Dialled(one, (one,)).same_as(Dialled(two, (one,)))


async def test_who_stops_waits_for_no_name_server(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        release.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with trio.move_on_after(0.01) as scope:
            await candidates_aside(profile("", "four.example"))
        assert scope.cancelled_caught and not release.is_set()
    finally:
        release.set()
