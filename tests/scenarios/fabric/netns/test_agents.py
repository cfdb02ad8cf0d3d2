"""What programs that make tunnels are told: by ways that nobody else sees, in the form that each of them reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.profile import read
from edge.config import Kind
from edge.proto.types import Address
from scenarios import world as worlds
from scenarios.fabric.netns.agents import Launch, Told, environment, program
from scenarios.runner import check

WIREGUARD: Address = ("198.18.0.1", 51820)
MASQUE: Address = ("198.18.0.1", 443)
TEXT = """\
version: 1
name: agents
vnets: {acme: {mtu: 1400}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      connectors: {hq: {agent: AGENT, tunnel: TUNNEL, keepalive: 1500ms}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, agent: AGENT, tunnel: TUNNEL}
    bob: {vnet: acme, agent: xray}
steps: [{wait: {tunnels: up}}]
"""


def told(name: str, agent: str = "daemon", tunnel: str = "wireguard") -> Told:
    (script,) = check(TEXT.replace("AGENT", agent).replace("TUNNEL", tunnel))
    world = worlds.build(script)
    (end,) = (end for end in world.ends if end.name == name)
    return Told.of(end, world, WIREGUARD, MASQUE)


def shown(launch: Launch) -> str:
    """What everybody on the machine can read."""
    return " ".join([*launch.argv, *environment().values(), *launch.files, repr(launch)])


@pytest.mark.parametrize("tunnel", ["wireguard", "masque", "auto"])
def test_a_daemon_gets_the_file_that_an_operator_would_have(tunnel: str, tmp_path: Path) -> None:
    given = told("alice", tunnel=tunnel)
    launch = program(given).launch()
    assert launch.argv[-4:] == ("client", "--name", "poplab0", "/run/poplab.yaml")
    file = tmp_path / "poplab.yaml"
    file.write_text(launch.files["/run/poplab.yaml"])
    profile = read(file)
    assert (profile.name, profile.kind, profile.tunnel) == ("alice", Kind.CLIENT, tunnel)
    assert list(map(str, profile.addresses)) == ["100.96.0.12"]
    assert (profile.wireguard is None) is (tunnel == "masque")
    assert (profile.masque is None) is (tunnel == "wireguard")
    if profile.wireguard is not None:
        assert profile.wireguard.private_key == given.end.private_key
        assert tuple(profile.wireguard.server) == WIREGUARD
    if profile.masque is not None:
        assert profile.masque.token == given.end.token
        assert tuple(profile.masque.server) == MASQUE
        assert profile.masque.authority


def test_the_daemon_of_a_site_knows_how_its_packets_find_it(tmp_path: Path) -> None:
    launch = program(told("hq"), "per-host").launch()
    assert launch.argv[-6:-3] == ("connector", "--mode", "per-host")
    file = tmp_path / "poplab.yaml"
    file.write_text(launch.files["/run/poplab.yaml"])
    assert list(map(str, read(file).serves)) == ["10.0.50.0/24"]


def test_seconds_of_a_keepalive_are_whole() -> None:
    assert told("hq").keepalive == 2
    assert told("alice").keepalive == 0


def test_xray_gets_a_device_in_the_place_of_a_proxy() -> None:
    given = told("bob")
    launch = program(given).launch()
    document = json.loads(launch.stdin)
    assert document["inbounds"] == [{"protocol": "tun", "settings": {"name": "poplab0", "mtu": 1280}}]
    (outbound,) = document["outbounds"]
    assert outbound["settings"] == {"address": "198.18.0.1", "port": 443}
    assert outbound["streamSettings"]["masqueSettings"]["pass"] == given.end.token.decode()


@pytest.mark.parametrize(
    ("name", "agent", "tunnel"),
    [("alice", "daemon", "auto"), ("alice", "wireguard-go", "wireguard"), ("bob", "daemon", "masque")],
)
def test_no_secret_is_where_others_can_read_it(name: str, agent: str, tunnel: str) -> None:
    given = told(name, agent, tunnel)
    tool = program(given)
    seen = shown(tool.launch()) + repr(tool)
    for secret in (given.end.private_key, given.end.preshared_key, given.end.token):
        assert not secret or (repr(secret) not in seen and secret.hex() not in seen)
        assert secret.decode("latin-1") not in seen or not secret


def test_an_agent_learns_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    assert "hunter2" not in environment().values()
