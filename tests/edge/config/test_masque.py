"""MASQUE in edge.yaml: the listener, its settings, and tunnels with tokens or client keys instead of WireGuard's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import (
    WARP_NAMES,
    EdgeConfig,
    EdgeFile,
    Kind,
    MasqueConfig,
    Retry,
    TunnelConfig,
    TunnelKind,
    VnetConfig,
    check,
    load,
    public_key,
    spki,
)
from edge.document import Prefix, schema
from edge.enrol.authority import certificate_pem, issue, key_pem, new_authority, new_key
from edge.errors import ConfigError, Problem

PUBLIC = base64.b64encode(public_key(bytes([1] * 32))).decode()
TOKEN, OTHER_TOKEN = "ab" * 32, "cd" * 32
CLIENT_KEY = base64.b64encode(spki(new_key().public_key())).decode()
KEY = new_key()
NOW = datetime.now(UTC)
AUTHORITY = new_authority("lab", KEY, NOW)
CERTIFICATE = certificate_pem(issue(AUTHORITY, KEY, KEY, "lab", ["lab"], NOW))
GOOD = f"""\
version: 1
name: lab
listen: {{wireguard: "127.0.0.1:51820", masque: "127.0.0.1:4433", metrics: "127.0.0.1:9180"}}
private_key_file: pop.key
vnets:
  acme: {{pool: 100.96.0.0/24, mtu: 1420}}
  other: {{pool: 100.96.0.0/24}}
tunnels:
  alice:
    {{kind: client, vnet: acme, tunnel: masque, token_sha256: {TOKEN}, addresses: [100.96.0.12]}}
  bob:
    {{kind: client, vnet: acme, tunnel: masque, client_key: "{CLIENT_KEY}", addresses: [100.96.0.13]}}
  carol:
    {{kind: client, vnet: acme, public_key: "{PUBLIC}", addresses: [100.96.0.14]}}
"""
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        secret = base64.b64encode(bytes([7] * 32)).decode()
        files = {"pop.key": secret, "masque.key": key_pem(KEY), "masque.crt": CERTIFICATE, "edge.yaml": text}
        files["retry.key"] = base64.b64encode(bytes([5] * 32)).decode()
        for name, content in files.items():
            (tmp_path / name).write_text(content)
            (tmp_path / name).chmod(0o600)
        return tmp_path / "edge.yaml"

    return write


def problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problems


def test_a_listener_needs_no_settings(write: Write, tmp_path: Path) -> None:
    config = load(write(GOOD))
    masque = config.masque
    assert masque == MasqueConfig(("127.0.0.1", 4433), CERTIFICATE.encode(), key_pem(KEY).encode())
    assert (masque.retry, masque.http2, masque.warp_names, masque.idle_timeout) == (
        Retry.AUTO,
        True,
        WARP_NAMES,
        30.0,
    )
    alice, bob, carol = (config.tunnels[name] for name in ("alice", "bob", "carol"))
    assert (alice.tunnel, alice.token_sha256.hex(), alice.client_key) == (TunnelKind.MASQUE, TOKEN, b"")
    assert base64.b64encode(bob.client_key).decode() == CLIENT_KEY
    assert carol.tunnel is TunnelKind.WIREGUARD
    assert len({tunnel.identity for tunnel in config.tunnels.values()}) == 3


def test_every_setting_can_be_written(write: Write, tmp_path: Path) -> None:
    settings = """\
masque: {certificate_file: masque.crt, key_file: masque.key, endpoint: "pop.example.net:443", path: "/vpn",
  http2: false, retry: always, retry_key_file: retry.key, warp_names: [warp.example.net], max_connections: 5,
  idle_timeout: 1m, handshake_rate: 20, source_rate: 0.5, keylog_file: keys.log}
"""
    masque = load(write(GOOD + settings)).masque
    assert masque == MasqueConfig(
        ("127.0.0.1", 4433), CERTIFICATE.encode(), key_pem(KEY).encode(), path="/vpn", http2=False,
        retry=Retry.ALWAYS, retry_key=bytes([5] * 32), warp_names=("warp.example.net",), max_connections=5,
        idle_timeout=60.0, handshake_rate=20.0, source_rate=0.5, keylog=tmp_path / "keys.log",
        endpoint="pop.example.net:443",
    )  # fmt: skip
    for secret in (masque.retry_key, masque.private_key):
        assert repr(secret)[2:20] not in repr(masque)


def test_null_is_off_with_its_settings_left_in_place(write: Write) -> None:
    off = GOOD.replace('masque: "127.0.0.1:4433"', "masque: null").split("tunnels:")[0]
    assert load(write(off + "masque: {http2: false}\n")).masque is None


LISTEN = 'masque: "127.0.0.1:4433"'
ED25519 = base64.b64encode(spki(Ed25519PrivateKey.generate().public_key())).decode()
ALICE = f"token_sha256: {TOKEN}"
CAROL = f'public_key: "{PUBLIC}"'
BOB = f'client_key: "{CLIENT_KEY}"'


@pytest.mark.parametrize(
    ("old", "new", "message", "fix", "line"),
    [
        (CAROL + ", ", "", "without `public_key`", "`tunnel: masque`", 14),
        (CAROL, f"token_sha256: {OTHER_TOKEN}", "without `public_key`", "wg pubkey", 14),
        (CAROL, f"{CAROL}, token_sha256: {OTHER_TOKEN}", "is of MASQUE", "delete it", 14),
        (ALICE, f"{ALICE}, {CAROL}", "is of WireGuard", "delete it", 10),
        (ALICE + ", ", "", "nothing opens", " add-client NAME --tunnel masque` makes", 10),
        (BOB, ALICE, "'alice' (vnet acme) and 'bob' (vnet acme) have the same token", "another", 12),
        (ALICE, BOB, "and 'bob' (vnet acme) have the same client key", "another", 12),
        (BOB, BOB + ", preshared_key_file: retry.key", "is of WireGuard", "TLS", 12),
        (BOB, BOB + ', endpoint: "192.0.2.1:5"', "is of WireGuard", "the client dials", 12),
        (BOB, BOB + ", keepalive: 25s", "is of WireGuard", "masque.idle_timeout", 12),
        (TOKEN, "secret", "not a SHA-256", "`printf %s TOKEN | sha256sum`", 10),
        (ALICE, "token: secret", "unknown key 'token'", "did you mean 'token_sha256'?", 10),
        (CLIENT_KEY, "secret!", "not a public key in base64", "`openssl pkey", 12),
        (CLIENT_KEY, "c2VjcmV0", "not the ECDSA key", "openssl pkey", 12),
        (CLIENT_KEY, ED25519, "not the ECDSA", "EC key", 12),
        ("mtu: 1420", "mtu: 1279", "1279 is less than that of MASQUE tunnels, such as 'alice'", "1280 or more", 6),
        (', masque: "127.0.0.1:4433"', "", "the PoP does not listen for MASQUE, as it must for this tunnel and 1 other",
         'add `masque: "127.0.0.1:4433"` to `listen`; `poplab edge --config ', 10),
        (LISTEN, 'masque: "127.0.0.1:51820"', "UDP port 51820 is that of `listen.wireguard`", "another port", 3),
        (LISTEN, 'masque: "0.0.0.0:51820"', "UDP port 51820", "another port", 3),
        (LISTEN, 'masque: "[::]:9180"', "TCP port 9180 is that of `listen.metrics`", "http2: false", 3),
        (LISTEN, 'masque: "pop.example:4433"', "not an IP address", "127.0.0.1", 3),
        ("tunnels:\n", "masque: {path: vpn}\ntunnels:\n", "'vpn' does not begin with a slash", "write /vpn", 8),
        ("tunnels:\n", "masque: {path: '/{host}'}\ntunnels:\n", "{host} is no variable", "{target}", 8),
        ("tunnels:\n", "masque: {path: '/%ff'}\ntunnels:\n", "not UTF-8", "/.well-known/masque/ip/", 8),
        ("tunnels:\n", "masque: {handshake_rate: 0.5}\ntunnels:\n", "between 1 and", "100", 8),
        ("tunnels:\n", "masque: {source_rate: 0}\ntunnels:\n", "more than 0", "10", 8),
        ("tunnels:\n", "masque: {max_connections: 0}\ntunnels:\n", "between 1 and", "10000", 8),
        ("tunnels:\n", "masque: {idle_timeout: 1h}\ntunnels:\n", "between 1s and 600s", "30s", 8),
        ("tunnels:\n", "masque: {retry: never}\ntunnels:\n", "'never'", "", 8),
        ("tunnels:\n", "masque: {http2: no}\ntunnels:\n", "'no'", "false", 8),
        ("tunnels:\n", "masque: {retry_key_file: none.key}\ntunnels:\n", "No such file", "openssl rand", 8),
        ("tunnels:\n", "masque: {retry_key_file: masque.crt}\ntunnels:\n", "not a key of 32 bytes", "openssl rand", 8),
        ("tunnels:\n", "masque: {keylog_file: ''}\ntunnels:\n", "not the name of a file", "keys.log", 8),
        ("tunnels:\n", "masque: {warp_names: ['a ']}\ntunnels:\n", "is no server name", "SNI", 8),
        ("tunnels:\n", "masque: {warp_names: []}\ntunnels:\n", "'bob' is of the WARP dialect, which no", "leave", 8),
        ("tunnels:\n", "masque: {endpoint: 'pop.example:0'}\ntunnels:\n", "port 0", "reach", 8),
        ("tunnels:\n", "masque: {endpoint: '[2001:db8::1]:1'}\ntunnels:\n", "no peer would arrive", "family", 8),
        ("tunnels:\n", "masque: {certificate: x}\ntunnels:\n", "unknown key", "certificate_file", 8),
    ],
)  # fmt: skip
def test_what_is_refused(write: Write, old: str, new: str, message: str, fix: str, line: int) -> None:
    assert GOOD.count(old) == 1
    found = problems(write(GOOD.replace(old, new)))
    (wrong,) = [problem for problem in found if message in problem.message]
    assert wrong.line == line and fix in wrong.fix
    assert len(found) <= 2
    assert "secret" not in str(wrong).replace("edge.yaml", "")


AUTO = "kind: client\nvnet: acme\ntunnel: auto\naddresses: [100.96.0.20]\n"
DAVE = f'public_key: "{base64.b64encode(public_key(bytes([2] * 32))).decode()}"\n'


def test_a_peer_that_may_come_by_both_shows_the_credentials_of_both(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    (tmp_path / "tunnels.d").mkdir()
    file = tmp_path / "tunnels.d" / "dave.yaml"
    file.write_text(AUTO + DAVE + f"token_sha256: {OTHER_TOKEN}\nkeepalive: 25s\n")
    dave = load(path).tunnels["dave"]
    assert dave.tunnel is TunnelKind.AUTO and dave.by_wireguard and dave.by_masque
    for text, message, fix in (
        (DAVE, "opens no session of MASQUE", "`tunnel: wireguard`"),
        (f"token_sha256: {OTHER_TOKEN}\n", "without `public_key`", "`tunnel: masque`"),
        (f"token_sha256: {TOKEN}\n" + DAVE, "have the same token", "generate another"),
        (f'token_sha256: {OTHER_TOKEN}\npublic_key: "{PUBLIC}"\n', "have the same public key", "generate"),
    ):
        file.write_text(AUTO + text)
        (wrong,) = problems(path)
        assert message in wrong.message and fix in wrong.fix
        assert "dave.yaml" in wrong.file or "edge.yaml" in wrong.file
    file.write_text(AUTO)
    assert len(problems(path)) == 2


def test_settings_without_a_listener_are_a_slip(write: Write) -> None:
    text = GOOD.split("tunnels:")[0].replace(', masque: "127.0.0.1:4433"', "") + "masque: {http2: false}\n"
    (wrong,) = problems(write(text))
    assert (wrong.line, "not there" in wrong.message) == (8, True) and "`listen`" in wrong.fix


def test_a_bad_certificate_is_not_taken_for_no_listener(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    (tmp_path / "masque.crt").write_text("")
    (wrong,) = problems(path)
    assert "not a certificate" in wrong.message


@pytest.mark.parametrize("same", ["[::1]:51820", "127.0.0.2:51820", "127.0.0.1:9180"])
def test_ports_that_are_not_the_same(write: Write, same: str) -> None:
    http2 = "masque: {http2: false}\n" if same.endswith("9180") else ""
    assert load(write(GOOD.replace("127.0.0.1:4433", same) + http2)).masque is not None


def test_ports_that_the_system_chooses_never_clash(write: Write) -> None:
    assert (
        load(write(GOOD.replace("4433", "0").replace("51820", "0").replace("9180", "0"))).masque is not None
    )


def tunnel(name: str, **more: object) -> TunnelConfig:
    address = bytes([100, 96, 0, ord(name[0])])
    return TunnelConfig(name, "acme", Kind.CLIENT, tunnel=TunnelKind.MASQUE, addresses=(address,), **more)  # type: ignore[arg-type]


def pop(*tunnels: TunnelConfig, masque: MasqueConfig | None) -> EdgeConfig:
    vnets = {"acme": VnetConfig("acme", Prefix.parse("100.96.0.0/24"))}
    named = {tunnel.name: tunnel for tunnel in tunnels}
    return EdgeConfig("lab", ("192.0.2.1", 51820), bytes([7] * 32), vnets, named, masque=masque)


def test_configurations_built_in_code_are_checked_alike() -> None:
    masque = MasqueConfig(("192.0.2.1", 4433), CERTIFICATE.encode(), key_pem(KEY).encode())
    alice = tunnel("alice", token_sha256=bytes(32))
    assert check(pop(alice, masque=masque)) == []
    (finding,) = check(pop(alice, masque=None))
    assert finding.path == ("tunnels", "alice", "tunnel")
    (finding,) = check(pop(replace(alice, token_sha256=b"short"), masque=masque))
    assert finding.path == ("tunnels", "alice", "token_sha256")


def test_both_credentials_may_open_one_tunnel() -> None:
    masque = MasqueConfig(("192.0.2.1", 4433), CERTIFICATE.encode(), key_pem(KEY).encode())
    both = tunnel("alice", token_sha256=bytes(32), client_key=base64.b64decode(CLIENT_KEY))
    assert check(pop(both, masque=masque)) == []
    findings = check(pop(both, replace(both, name="bob", addresses=()), masque=masque))
    assert {finding.path[2] for finding in findings if len(finding.path) > 2} == {
        "token_sha256",
        "client_key",
    }


def test_clients_that_pin_keys_need_one_of_their_kind() -> None:
    key = Ed25519PrivateKey.generate()
    shown = certificate_pem(issue(AUTHORITY, KEY, key, "lab", ["lab"], NOW)).encode()
    masque = MasqueConfig(("192.0.2.1", 4433), shown, key_pem(key).encode())
    assert check(pop(tunnel("alice", token_sha256=bytes(32)), masque=masque)) == []
    (finding,) = check(pop(tunnel("bob", client_key=base64.b64decode(CLIENT_KEY)), masque=masque))
    assert finding.path == ("masque", "certificate_file") and "ECDSA" in finding.message


@pytest.mark.parametrize("endpoint", ["10.0.50.9:443", ""])
def test_a_tunnel_must_not_run_inside_itself(endpoint: str) -> None:
    listen = ("0.0.0.0" if endpoint else "10.0.50.9", 4433)
    masque = MasqueConfig(listen, CERTIFICATE.encode(), key_pem(KEY).encode(), endpoint=endpoint)
    hq = TunnelConfig(
        "hq",
        "acme",
        Kind.CONNECTOR,
        tunnel=TunnelKind.MASQUE,
        token_sha256=bytes(32),
        routes=(Prefix.parse("10.0.50.0/24"),),
    )
    (finding,) = check(pop(hq, masque=masque))
    assert finding.path == ("tunnels", "hq", "routes", 0)
    assert f"`{'masque.endpoint' if endpoint else 'listen.masque'}`" in finding.fix


def test_the_form_of_all_this_has_a_json_schema() -> None:
    forms = json.loads(json.dumps(schema(EdgeFile)))["$defs"]
    assert forms["TunnelFile"]["properties"]["token_sha256"]["pattern"]
    assert "public_key" not in forms["TunnelFile"]["required"]
    assert forms["MasqueFile"]["properties"]["idle_timeout"]["pattern"]
    assert {"type": "null"} in forms["ListenFile"]["properties"]["masque"]["anyOf"]
