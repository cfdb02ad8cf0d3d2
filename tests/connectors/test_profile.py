"""Files of far ends: what `add-client` and `add-connector` print, and every mistake in them at its place."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from connectors.profile import Profile, read
from edge import enrol
from edge.config import Kind, public_key
from edge.document import HostPort
from edge.errors import ConfigError

KEY = "sB3yc83MZzCRmgnqdOM74Gryh0YBWP+8pNrdK9gVPk0="


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return enrol.init(tmp_path / "lab", name="lab", listen="127.0.0.1:51820", masque="", vnet="lab")


def profile(tmp_path: Path, text: str) -> Profile:
    file = tmp_path / "end.yaml"
    file.write_text(text)
    return read(file)


def test_a_wireguard_client(config: Path, tmp_path: Path):
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    enrolled = enrol.add_client(config, "alice", for_poplab=True)
    end = profile(tmp_path, enrolled.text)
    assert (end.name, end.kind, end.tunnel, end.mtu) == ("alice", Kind.CLIENT, "wireguard", 1420)
    assert end.addresses == (ip_address("100.96.0.3"),) and end.serves == ()
    assert end.reaches == (ip_network("100.96.0.0/24"), ip_network("10.0.50.0/24"))
    server = end.wireguard
    assert server is not None and server.server == HostPort(("127.0.0.1", 51820)) and server.keepalive == 25
    assert public_key(server.private_key) == enrolled.tunnel.public_key
    assert server.preshared_key == enrolled.tunnel.preshared_key


def test_the_wgquick_file_says_the_same_but_what_it_has_no_word_for(config: Path, tmp_path: Path):
    text = enrol.add_client(config, "alice", keepalive=0, psk=False).text
    end = profile(tmp_path, text)
    assert (end.name, end.kind, end.tunnel, end.mtu) == ("end", None, "wireguard", 1420)
    assert end.addresses == (ip_address("100.96.0.2"),) and end.reaches == (ip_network("100.96.0.0/24"),)
    assert end.wireguard is not None
    assert end.wireguard.keepalive is None and end.wireguard.preshared_key is None
    assert end.masque is None and end.servers == (HostPort(("127.0.0.1", 51820)),)


def test_a_masque_connector(config: Path, tmp_path: Path):
    text = enrol.add_connector(config, "hq", routes=["10.0.50.0/24"], masque=enrol.Masque()).text
    end = profile(tmp_path, text)
    assert (end.kind, end.tunnel, end.serves) == (Kind.CONNECTOR, "masque", (ip_network("10.0.50.0/24"),))
    assert end.reaches is None and end.wireguard is None
    server = end.masque
    assert server is not None and server.server == HostPort(("127.0.0.1", 4433)) and server.http2
    assert server.token and server.authority.startswith(b"-----BEGIN CERTIFICATE-----")


def test_secrets_are_not_shown(config: Path, tmp_path: Path):
    for masque in (None, enrol.Masque()):
        text = enrol.add_client(config, f"c{masque is None}", for_poplab=masque is None, masque=masque).text
        end = profile(tmp_path, text)
        secret = [
            line.split('"')[1] for line in text.splitlines() if "private_key" in line or "token" in line
        ]
        assert secret and not any(s in repr(end) for s in secret)


WIREGUARD = f"""\
version: 1
name: a
tunnel: wireguard
kind: client
addresses: [100.96.0.2]
mtu: 1420
reaches: [100.96.0.0/24]
wireguard:
  server: 192.0.2.1:51820
  public_key: "{KEY}"
  private_key: "{KEY}"
"""


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("kind: client", "kind: printer", "4:7", "printer"),
        ("mtu: 1420", "mtu: 12", "6:6", "576"),
        ("mtu: 1420", "mtu: 1420\nmut: 3", "7:1", "unknown key"),
        ("tunnel: wireguard", "tunnel: masque", "3:9", "needs `server`"),
        ("tunnel: wireguard", "tunnel: auto", "3:9", "needs `token`"),
        ("reaches: [100.96.0.0/24]\n", "", "3:9", "`reaches: [PREFIX, ...]`"),
        ("addresses: [100.96.0.2]", "addresses: [100.96.0.0/24]", "5:13", "not one address"),
        ("addresses: [100.96.0.2]\n", "", "4:7", "a client has an address"),
        ("kind: client", "kind: connector", "4:7", "`serves: [PREFIX, ...]`"),
        ("mtu: 1420", "mtu: 1420\nserves: [10.0.0.0/8]", "7:9", "serves no site"),
        ("name: a", "name: a b", "2:7", "cannot be a name"),
        ("mtu: 1420", "mtu: 1420\npath: '/{'", "7:7", "path"),
        ("mtu: 1420", "mtu: 1420\ncertificate_authority: hello", "7:24", "not a certificate in PEM"),
        (f'private_key: "{KEY}"', f'private_key: "{KEY[:-2]}"', "11:16", "not a WireGuard key"),
        ("mtu: 1420", "mtu: 1420\ntoken: 12345", "7:8", "not a token"),
        ("addresses: [100.96.0.2]", "addresses: [127.0.0.1]", "5:13", "cannot be an address"),
        ("100.96.0.2]\nmtu: 1420", '"fd00:96::2"]\nmtu: 1279', "5:13", "needs an MTU of 1280"),
        (f'private_key: "{KEY}"', f"{KEY}: yes", "11:3", "unknown key '(a key)'"),
    ],
)
def test_a_mistake_in_the_yaml_file_is_named_with_its_place(tmp_path, old, new, where, words):
    assert WIREGUARD.count(old) == 1
    profile(tmp_path, WIREGUARD)
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, WIREGUARD.replace(old, new))
    message = str(caught.value)
    assert f"end.yaml:{where}: " in message and words in message
    assert KEY[:-2] not in message and "12345" not in message


QUICK = f"""\
[Interface]
PrivateKey = {KEY}
Address = 100.96.0.2/32, fd00:96::2/128
MTU = 1380   # less

[Peer]
PublicKey = {KEY}
Endpoint = [2001:db8::1]:51820
AllowedIPs = 100.96.0.0/12,fd00:96::/64
PersistentKeepalive = off
"""


def test_a_file_of_a_wireguard_app(tmp_path: Path):
    end = profile(tmp_path, "# mine\n\n" + QUICK.replace("PublicKey", "publickey"))
    assert end.addresses == (ip_address("100.96.0.2"), ip_address("fd00:96::2")) and end.mtu == 1380
    assert end.reaches == (ip_network("100.96.0.0/12"), ip_network("fd00:96::/64"))
    assert end.servers == (HostPort(("2001:db8::1", 51820)),)


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("MTU = 1380", "MTU = big", "4:7", "MTU: 'big' is not a number"),
        ("MTU = 1380", "MTU 1380", "4:1", "not `Key = value`"),
        ("MTU = 1380", "Mtoo = 1380", "4:1", "unknown key 'Mtoo'"),
        ("MTU = 1380", "PostUp = rm -rf /", "4:1", "no commands are run"),
        ("MTU = 1380", "Table = off", "4:1", "not supported"),
        ("[Peer]", "[Friend]", "6:1", "unknown section"),
        ("[Peer]", "[Peer]\n[Peer]", "7:1", "a second [Peer]"),
        ("100.96.0.0/12,", "100.96.0.0/12, 1.2.3/8,", "9:29", "1.2.3/8"),
        (f"PrivateKey = {KEY}", "PrivateKey = abc", "2:14", "not a WireGuard key"),
        (f"PrivateKey = {KEY}\n", "", "end.yaml", "no PrivateKey in [Interface]"),
        ("Endpoint = [2001:db8::1]:51820", "Endpoint = pop", "8:12", "host:port"),
        ("MTU = 1380", f"PrivateKey = {KEY}", "4:14", "a second PrivateKey"),
        ("MTU = 1380", f"PrivateKey {KEY}=", "4:1", "unknown key 'PrivateKey (a key)'"),
        ("MTU = 1380", f"Address = {KEY}", "4:11", "(a key)"),
        ("MTU = 1380", "MTU = 1000", "3:1", "needs an MTU of 1280"),
        ("100.96.0.2/32", "224.0.0.1", "3:1", "cannot be an address"),
    ],
)
def test_a_mistake_in_a_wgquick_file_is_named_with_its_place(tmp_path, old, new, where, words):
    assert QUICK.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, QUICK.replace(old, new))
    message = str(caught.value)
    assert f"{where}: " in message and words in message and KEY not in message


@pytest.mark.parametrize("text", [QUICK, WIREGUARD])
def test_the_marks_of_a_windows_editor_do_not_matter(tmp_path: Path, text: str):
    file = tmp_path / "end.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read(file) == profile(tmp_path, text)


@pytest.mark.parametrize("text", [QUICK, WIREGUARD])
def test_a_pipe_is_read_once(tmp_path: Path, text: str):
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    end = read(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    assert end.wireguard == profile(tmp_path, text).wireguard


def test_a_file_of_anything_has_so_many_mistakes(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, QUICK + "Foo = 1\n" * 10_000)
    assert len(caught.value.problems) == 100


def test_a_file_that_is_too_large_is_not_read_in_part(tmp_path: Path):
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        profile(tmp_path, QUICK + "# padding\n" * (5 << 20 >> 3))


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path / "none.yaml")


def test_a_scenario_is_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("version: 1\nname: lab\nvnets: {acme: {}}\ntopology:\n  clients: {bob: {vnet: acme}}\n")
    with pytest.raises(ConfigError, match=r"looks like a scenario\n    fix: poplab run ") as refused:
        read(file)
    assert len(refused.value.problems) == 1
