"""Enrolment of MASQUE clients: the secret that is kept nowhere, and the files of four programs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509 import Certificate

from edge import enrol
from edge.cli import edge
from edge.config import Kind, TunnelConfig, TunnelKind, leaf, load, spki
from edge.enrol import Dialect, Masque, Program
from edge.enrol.authority import certificate_pem, issue, key_pem, new_authority, new_key
from edge.errors import ConfigError, PoplabError, Refused

ROOT = Path(__file__).parents[3]
WARP = Masque(dialect=Dialect.WARP)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return enrol.init(tmp_path / "pop", name="lab-1", vnet="acme")


@pytest.fixture
def dual(config: Path) -> Path:
    """A PoP whose network has both families."""
    text = config.read_text()
    config.write_text(text.replace("    mtu:", '    pool6: "fd00:96::/64"\n    mtu:'))
    return config


def run(*arguments: object) -> Result:
    return CliRunner().invoke(edge, [str(argument) for argument in arguments])


def shown(config: Path) -> Certificate:
    masque = load(config).masque
    assert masque is not None
    certificate = leaf(masque.certificate)
    assert certificate is not None
    return certificate


def pinned(config: Path) -> bytes:
    return spki(shown(config).public_key())


SEC1, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8


def private(text: str, form: PrivateFormat) -> EllipticCurvePrivateKey:
    """The P-256 key in `text`, which is in no other form than that."""
    der = base64.b64decode(text)
    key = load_der_private_key(der, None)
    assert isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    assert key.private_bytes(Encoding.DER, form, NoEncryption()) == der
    return key


def kept(config: Path) -> str:
    return "".join(path.read_text() for path in config.parent.rglob("*") if path.is_file())


def tunnel(config: Path, name: str) -> TunnelConfig:
    return load(config).tunnels[name]


def test_a_client_of_our_own_gets_all_that_it_needs_in_one_file(config: Path) -> None:
    enrolled = enrol.add_client(config, "alice", tags=["guest"], masque=Masque())
    said = yaml.safe_load(enrolled.text)
    alice = tunnel(config, "alice")
    assert alice == enrolled.tunnel
    assert (alice.tunnel, alice.tags, alice.user) == (TunnelKind.MASQUE, ("guest",), "alice")
    assert alice.token_sha256 == hashlib.sha256(said["token"].encode()).digest()
    assert (alice.public_key, alice.client_key, alice.preshared_key) == (b"", b"", None)
    assert len(base64.urlsafe_b64decode(said.pop("token") + "=")) == 32
    assert said.pop("certificate_authority") == (config.parent / "ca.crt").read_text()
    assert said == {
        "version": 1,
        "name": "alice",
        "tunnel": "masque",
        "kind": "client",
        "server": "127.0.0.1:4433",
        "server_name": "lab-1",
        "path": "/.well-known/masque/ip/{target}/{ipproto}/",
        "http2": True,
        "addresses": ["100.96.0.2/32"],
        "mtu": 1280,
    }


def test_what_to_do_with_the_file_of_our_own_is_said(config: Path) -> None:
    used = " ".join(enrol.add_client(config, "alice", masque=Masque()).usage)
    assert "`poplab client FILE`" in used
    assert "https://127.0.0.1:4433/.well-known/" in used


def test_a_connector_is_told_what_it_serves(config: Path) -> None:
    enrolled = enrol.add_connector(config, "hq", routes=["10.0.50.0/24"], masque=Masque())
    said = yaml.safe_load(enrolled.text)
    assert (said["kind"], said["serves"]) == ("connector", ["10.0.50.0/24"])
    hq = tunnel(config, "hq")
    assert (hq.kind, hq.site, [str(route) for route in hq.routes]) == (Kind.CONNECTOR, "hq", ["10.0.50.0/24"])
    replica = enrol.add_connector(config, "hq-b", replica_of="hq", masque=Masque()).tunnel
    assert (replica.site, replica.routes, replica.preference) == ("hq", hq.routes, 1)
    assert enrol.add_connector(config, "hq-c", replica_of="hq").tunnel.tunnel is TunnelKind.WIREGUARD
    load(config)


def test_the_token_is_kept_nowhere_and_no_two_are_the_same(config: Path) -> None:
    enrolled = [enrol.add_client(config, name, masque=Masque()) for name in ("alice", "bob")]
    tokens = [yaml.safe_load(one.text)["token"] for one in enrolled]
    assert len(set(tokens)) == 2
    for token, one in zip(tokens, enrolled, strict=True):
        assert token not in kept(config) + repr(one)
        assert stat.S_IMODE(one.file.stat().st_mode) == 0o600
        assert one.secret == "token"


@pytest.mark.parametrize("program", [Program.USQUE, Program.MIHOMO, Program.XRAY])
def test_the_private_key_is_kept_nowhere(config: Path, program: Program) -> None:
    enrolled = enrol.add_client(config, "alice", masque=Masque(Dialect.WARP, program))
    document = yaml.safe_load(enrolled.text)  # JSON is YAML
    secret = {
        Program.USQUE: lambda d: d["private_key"],
        Program.MIHOMO: lambda d: d["proxies"][0]["private-key"],
        Program.XRAY: lambda d: d["outbounds"][0]["streamSettings"]["masqueSettings"]["warp"]["privateKey"],
    }[program](document)
    assert (
        spki(private(secret, PKCS8 if program is Program.XRAY else SEC1).public_key())
        == tunnel(config, "alice").client_key
    )
    assert secret not in kept(config) + repr(enrolled)
    assert enrolled.secret == "private key"


def test_usque_gets_its_config_json(dual: Path) -> None:
    enrolled = enrol.add_client(dual, "alice", masque=WARP)
    said = json.loads(enrolled.text)
    private(said.pop("private_key"), SEC1)
    pem = said.pop("endpoint_pub_key")
    (masque_key,) = [load(dual).masque]
    assert masque_key is not None
    certificate = leaf(masque_key.certificate)
    assert certificate is not None
    assert (
        pem == certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )
    assert said == {
        "endpoint_v4": "127.0.0.1", "endpoint_v6": "", "endpoint_h2_v4": "127.0.0.1", "endpoint_h2_v6": "",
        "id": "", "access_token": "", "ipv4": "100.96.0.2", "ipv6": "fd00:96::2",
    }  # fmt: skip
    assert any("usque -c FILE socks -P 4433`" in line for line in enrolled.usage)


def test_usque_is_told_on_its_command_line_what_its_file_cannot_say(config: Path) -> None:
    config.write_text(config.read_text() + "masque: {warp_names: [warp.example]}\n")
    enrolled = enrol.add_client(config, "alice", masque=WARP, endpoint="[2001:db8::1]:443")
    said = json.loads(enrolled.text)
    assert (said["endpoint_v4"], said["endpoint_v6"], said["ipv6"]) == ("", "2001:db8::1", "")
    assert any("usque -c FILE socks -P 443 -s warp.example -6 -S`" in line for line in enrolled.usage)
    with pytest.raises(Refused, match="addresses only"):
        enrol.add_client(config, "bob", masque=WARP, endpoint="pop.example.net:443")
    assert list(load(config).tunnels) == ["alice"]


def test_mihomo_gets_an_entry_of_its_proxies(dual: Path) -> None:
    enrolled = enrol.add_client(
        dual, "alice", masque=Masque(program=Program.MIHOMO), endpoint="pop.example.net:443"
    )
    (proxy,) = yaml.safe_load(enrolled.text)["proxies"]
    private(proxy.pop("private-key"), SEC1)
    assert proxy == {
        "name": "lab-1", "type": "masque", "server": "pop.example.net", "port": 443,
        "public-key": base64.b64encode(pinned(dual)).decode(), "ip": "100.96.0.2/32", "ipv6": "fd00:96::2/128",
        "sni": "consumer-masque.cloudflareclient.com", "mtu": 1280, "udp": True,
    }  # fmt: skip


def outbound(text: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    (found,) = json.loads(text)["outbounds"]
    stream = found["streamSettings"]
    return found["settings"], stream["masqueSettings"], stream["tlsSettings"]


def test_xray_gets_a_whole_configuration(config: Path) -> None:
    settings, masque, tls = outbound(
        enrol.add_client(config, "alice", masque=Masque(program=Program.XRAY)).text
    )
    assert settings == {"address": "127.0.0.1", "port": 4433}
    assert hashlib.sha256(masque.pop("pass").encode()).digest() == tunnel(config, "alice").token_sha256
    assert masque == {"host": "lab-1", "path": "/.well-known/masque/ip/{target}/{ipproto}/", "user": "alice"}
    (trusted,) = tls.pop("certificates")
    assert "\n".join(trusted["certificate"]) + "\n" == (config.parent / "ca.crt").read_text()
    assert tls == {"serverName": "lab-1", "alpn": ["h3"], "disableSystemRoot": True}


def test_xray_speaks_the_dialect_too(dual: Path) -> None:
    _, masque, tls = outbound(enrol.add_client(dual, "alice", masque=Masque(Dialect.WARP, Program.XRAY)).text)
    assert tls == {"serverName": "consumer-masque.cloudflareclient.com", "alpn": ["h3"]}
    warp = masque["warp"]
    assert base64.b64decode(warp["publicKey"]) == pinned(dual)
    assert warp["address"] == ["100.96.0.2/32", "fd00:96::2/128"]
    private(warp["privateKey"], PKCS8)


@pytest.mark.parametrize("form", ["base64", "PEM", "wrapped"])
def test_a_device_may_keep_its_key_to_itself(config: Path, form: str) -> None:
    own = new_key().public_key()
    key = base64.b64encode(spki(own)).decode()
    given = {
        "base64": key,
        "PEM": own.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "wrapped": f"  {key[:64]}\n{key[64:]}\n",
    }[form]
    enrolled = enrol.add_client(config, "alice", masque=Masque(client_key=given))
    assert tunnel(config, "alice").client_key == spki(own)
    assert json.loads(enrolled.text)["private_key"].startswith("PUT THE PRIVATE KEY")
    assert enrolled.secret == "" and "private key of the device" in enrolled.usage[0]
    with pytest.raises(ConfigError, match="same client key"):
        enrol.add_client(config, "bob", masque=Masque(client_key=given))


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        (Masque(Dialect.STANDARD, Program.USQUE), "fix: --dialect warp, or --for poplab or xray"),
        (Masque(Dialect.STANDARD, Program.MIHOMO), "does not speak"),
        (Masque(Dialect.WARP, Program.POPLAB), "fix: --dialect standard, or --for xray or usque or mihomo"),
        (Masque(program=Program.POPLAB, client_key="AAAA"), "shows a token, not a key"),
        (Masque(Dialect.STANDARD, client_key="AAAA"), "shows a token, not a key"),
        (Masque(client_key="x!"), "not a public key in base64"),
        (Masque(client_key="AAAA"), "not the ECDSA key of a client's certificate"),
    ],
)
def test_what_is_refused_leaves_no_file(config: Path, wanted: Masque, word: str) -> None:
    with pytest.raises(PoplabError, match=word):
        enrol.add_client(config, "alice", masque=wanted)
    assert list((config.parent / "tunnels.d").iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Masque(), (Dialect.STANDARD, Program.POPLAB)),
        (Masque(program=Program.XRAY), (Dialect.STANDARD, Program.XRAY)),
        (Masque(program=Program.XRAY, client_key="x"), (Dialect.WARP, Program.XRAY)),
        (Masque(program=Program.MIHOMO), (Dialect.WARP, Program.MIHOMO)),
        (Masque(Dialect.WARP), (Dialect.WARP, Program.USQUE)),
        (Masque(client_key="x"), (Dialect.WARP, Program.USQUE)),
    ],
)
def test_what_is_left_out_follows_from_the_rest(wanted: Masque, chosen: tuple[Dialect, Program]) -> None:
    assert wanted.chosen() == chosen


# -- where to dial, and what to look for in the certificate --


@pytest.mark.parametrize(
    ("old", "new", "option", "server"),
    [
        ("", "", "pop.example.net:443", "pop.example.net:443"),
        ("# endpoint:", "endpoint:", "", "pop.example.net:4433"),
        ("private_key_file", 'masque: {endpoint: "192.0.2.1:443"}\nprivate_key_file', "", "192.0.2.1:443"),
        ("private_key_file", 'masque: {endpoint: "192.0.2.1:443"}\nprivate_key_file', "[::1]:1", "[::1]:1"),
    ],
)
def test_where_to_dial(config: Path, old: str, new: str, option: str, server: str) -> None:
    config.write_text(config.read_text().replace(old, new, 1))
    said = yaml.safe_load(enrol.add_client(config, "alice", masque=Masque(), endpoint=option).text)
    assert said["server"] == server


@pytest.mark.parametrize("listen", ["0.0.0.0:4433", "127.0.0.1:0"])
def test_a_listener_that_nobody_can_dial_needs_an_endpoint(tmp_path: Path, listen: str) -> None:
    config = enrol.init(tmp_path / "pop", masque=listen)
    with pytest.raises(Refused, match="--endpoint"):
        enrol.add_client(config, "alice", masque=Masque())


@pytest.mark.parametrize(
    ("hosts", "endpoint", "name"),
    [
        (["a.example", "localhost"], "192.0.2.1:1", "a.example"),
        (["a.example", "b.example"], "B.example:1", "B.example"),
        (["a.example", "*.b.example"], "c.b.example:1", "c.b.example"),
        (["*.b.example", "192.0.2.1"], "192.0.2.1:1", "192.0.2.1"),
        (["192.0.2.2"], "192.0.2.1:1", None),
        (["*.b.example"], "c.d.b.example:1", None),
    ],
)
def test_a_certificate_from_elsewhere(
    config: Path, hosts: list[str], endpoint: str, name: str | None
) -> None:
    key, now = new_key(), datetime.now(UTC)
    theirs = new_authority("theirs", key, now)
    (config.parent / "masque.crt").write_text(certificate_pem(issue(theirs, key, key, "x", hosts, now)))
    (config.parent / "masque.key").write_text(key_pem(key))
    if name is None:
        with pytest.raises(
            Refused, match=f"the certificate of the PoP is not for .* but for .*{hosts[0][-5:]}"
        ):
            enrol.add_client(config, "alice", masque=Masque(), endpoint=endpoint)
        return
    said = yaml.safe_load(enrol.add_client(config, "alice", masque=Masque(), endpoint=endpoint).text)
    assert said["server_name"] == name and "certificate_authority" not in said
    _, _, tls = outbound(
        enrol.add_client(config, "bob", masque=Masque(program=Program.XRAY), endpoint=endpoint).text
    )
    assert tls == {"serverName": name, "alpn": ["h3"]}, "whom the system trusts"


# -- on the command line --


def test_a_pipe_gets_the_file_and_nothing_else(config: Path) -> None:
    result = run("--config", config, "add-client", "alice", "--tunnel", "masque", "--for", "xray")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["outbounds"]
    assert "the only place of the token" in result.stderr and "`xray run -c FILE`" in result.stderr
    assert "startFromJSON(pathlib.Path(sys.argv[1]).read_text())' FILE`" in result.stderr
    token = outbound(result.stdout)[1]["pass"]
    assert token not in result.stderr


def test_the_word_file_is_replaced_by_its_name(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "alice.json"
    result = run(
        "--config", config, "add-client", "alice", "--tunnel", "masque", "--dialect", "warp", "--out", out
    )
    assert result.exit_code == 0 and result.stdout == ""
    assert f"`usque -c {out} socks " in result.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_a_token_that_nobody_got_opens_nothing(config: Path) -> None:
    command = [sys.executable, "-c", "from edge.cli import edge; edge()", "--config", str(config)]
    full = os.open("/dev/full", os.O_WRONLY)
    command += ["add-client", "alice", "--tunnel", "masque"]
    ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(full)
    assert ran.returncode == 2 and "nothing was enrolled" in ran.stderr and "Traceback" not in ran.stderr
    assert load(config).tunnels == {}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--for", "usque"], "--for usque is of MASQUE tunnels\n    fix: --tunnel masque"),
        (["--for", "poplab", "--qr"], "--for poplab is not\n    fix: one of the two"),
        (["--dialect", "warp"], "--dialect is of MASQUE tunnels"),
        (["--client-key", "AAAA"], "--client-key is of MASQUE tunnels"),
        (["--tunnel", "masque", "--qr"], "--qr is of WireGuard tunnels\n    fix: leave it out"),
        (["--tunnel", "masque", "--no-psk"], "--psk is of WireGuard tunnels"),
        (["--tunnel", "masque", "--keepalive", "5"], "--keepalive is of WireGuard tunnels"),
        (["--tunnel", "auto"], 'see "By both" in docs/edge.md'),
        (["--tunnel", "gre"], "is not one of 'wireguard', 'masque'"),
    ],
)
def test_options_of_the_other_kind_are_refused(config: Path, options: list[str], word: str) -> None:
    for verb in (["add-client", "x"], ["add-connector", "x", "--route", "10.0.50.0/24"]):
        result = run("--config", config, *verb, *options)
        assert result.exit_code == 2 and word in result.stderr
    assert load(config).tunnels == {}


def test_only_wireguard_holds_a_copy_of_the_routes(config: Path) -> None:
    config.write_text(config.read_text() + 'endpoint: "pop.example.net:51820"\n')
    enrol.add_client(config, "alice", masque=Masque())
    assert enrol.add_connector(config, "hq", routes=["10.0.50.0/24"]).advice == ()
    (once,) = enrol.add_connector(config, "branch", routes=["10.0.60.0/24"], masque=Masque()).advice
    assert once.startswith("hq was enrolled before")


def test_a_kind_that_no_command_enrols_is_not_offered(config: Path) -> None:
    said = run("--config", config, "add-client", "alice", "--tunnel", "both").stderr
    assert "masque" in said and "auto" not in said
