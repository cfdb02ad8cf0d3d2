from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from edge.config import EdgeConfig, Kind, TunnelConfig, VnetConfig, check, load, public_key
from edge.config.credentials import LOW_ORDER
from edge.document import Prefix
from edge.errors import ConfigError, Problem
from edge.proto.forwarding.policy import Action, Flow, Party, Policy, Verdict

ROOT = Path(__file__).parents[2]
PRIVATE, PSK = bytes([7] * 32), bytes([9] * 32)
GOOD = """\
version: 1
name: lab-1
listen: {wireguard: "127.0.0.1:51820", metrics: "127.0.0.1:9180"}
private_key_file: pop.key
state: state.db
vnets:
  acme:
    pool: 100.96.0.0/24
    pool6: "fd00:96::/64"
    mtu: 1400
    hook_budget: 5ms
    policy:
      - {id: deny-guests, from: {tag: guest}, to: {site: hq}, action: block}
      - {id: voice, to: {site: hq}, ports: [udp/5060, udp/16384-32767], action: allow}
      - {id: ping, protocol: icmp, icmp: [echo-request], action: allow}
      - {id: default, action: reject}
  umbrella: {pool: 100.96.0.0/24}
tunnels:
  hq:
    {kind: connector, vnet: acme, public_key: KEY1, preshared_key_file: hq.psk, routes: [10.0.50.0/24],
     keepalive: 25s}
  alice:
    {kind: client, vnet: acme, public_key: KEY2, addresses: [100.96.0.12, "fd00:96::12"], user: alice,
     tags: [guest]}
"""
Write = Callable[..., Path]


def b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def key(n: int) -> bytes:
    return public_key(bytes([n] * 32))


def write_key(path: Path, secret: bytes, mode: int = 0o600) -> None:
    path.write_text(b64(secret) + "\n")
    path.chmod(mode)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes edge.yaml (KEYn stands for a public key), the key files, and tunnels.d."""

    def write(text: str = GOOD, **tunnels: str) -> Path:
        write_key(tmp_path / "pop.key", PRIVATE)
        write_key(tmp_path / "hq.psk", PSK)
        (tmp_path / "tunnels.d").mkdir(exist_ok=True)
        for name, body in {"../edge": text, **{f"{name}": body for name, body in tunnels.items()}}.items():
            for n in range(9, 0, -1):
                body = body.replace(f"KEY{n}", b64(key(n)))
            (tmp_path / "tunnels.d" / f"{name}.yaml").write_text(body)
        return tmp_path / "edge.yaml"

    return write


def problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problems


def test_a_good_configuration(write: Write, tmp_path: Path) -> None:
    config = load(
        write(GOOD, bob="kind: client\nvnet: umbrella\npublic_key: KEY3\naddresses: [100.96.0.12]\n")
    )
    assert config.listen == ("127.0.0.1", 51820)
    assert config.metrics == ("127.0.0.1", 9180)
    assert config.private_key == PRIVATE
    assert config.state == tmp_path / "state.db"
    acme = config.vnets["acme"]
    assert (acme.mtu, acme.default, acme.hook_budget) == (1400, Action.BLOCK, 0.005)
    assert acme.gateway4 == bytes([100, 96, 0, 1])
    assert acme.gateway6 == bytes.fromhex("fd000096") + bytes(11) + b"\1"
    hq = config.tunnels["hq"]
    assert (hq.kind, hq.preshared_key, hq.keepalive, hq.site) == (Kind.CONNECTOR, PSK, 25.0, "hq")
    assert hq.prefixes == (Prefix.parse("10.0.50.0/24"),)
    alice = config.tunnels["alice"]
    assert [str(prefix) for prefix in alice.prefixes] == ["100.96.0.12/32", "fd00:96::12/128"]
    assert alice.party == Party("alice", "client", "", "alice", (), ("guest",))
    assert config.tunnels["bob"].vnet == "umbrella"
    assert check(config) == []


def test_policy_text_means_what_it_says(write: Write) -> None:
    config = load(write())
    policy = Policy(config.vnets["acme"].policy, default=Action.BLOCK, timer=lambda: 0.0)
    hq, alice = config.tunnels["hq"].party, config.tunnels["alice"].party
    bob = replace(alice, name="bob", tags=())

    def decide(who: Party, protocol: int, port: int = 0, icmp: int = -1) -> tuple[str, str]:
        flow = Flow("acme", protocol, bytes(4), bytes([10, 0, 50, 1]), 9, port, icmp, 0, who, hq)
        verdict = policy.decide(flow)
        return verdict.rule, verdict.action

    assert decide(alice, 17, 5060) == ("deny-guests", "block")
    assert decide(bob, 17, 5060) == ("voice", "allow")
    assert decide(bob, 17, 32767) == ("voice", "allow")
    assert decide(bob, 6, 5060) == ("default", "reject")
    assert decide(bob, 17, 32768) == ("default", "reject")
    assert decide(bob, 1, icmp=8) == ("ping", "allow")
    assert decide(bob, 1, icmp=0) == ("default", "reject")
    assert decide(bob, 58, icmp=128) == ("default", "reject")


def test_all_mistakes_of_all_files_at_once(write: Write, tmp_path: Path) -> None:
    found = problems(
        write(
            GOOD.replace("mtu: 1400", "mtu: 1000").replace("site: hq}, ports", "site: hp}, ports"),
            bob="kind: client\nvnet: acne\npublic_key: KEY2\naddresses: [100.96.0.12]\n",
            carol="kind: client\nvnet: acme\npublic_key: KEY4\naddresses: [100.97.0.1]\n",
            dave="kind: clint\npublic_key: KEY5\n",
        )
    )
    assert [(Path(p.file).name, p.line, p.column) for p in found] == [
        ("edge.yaml", 10, 10), ("edge.yaml", 14, 32), ("bob.yaml", 2, 7), ("bob.yaml", 3, 13),
        ("carol.yaml", 4, 13), ("dave.yaml", 1, 1), ("dave.yaml", 1, 7),
    ]  # fmt: skip
    fixes = [p.fix for p in found]
    assert fixes[1].startswith("known: hq; or enrol it: `poplab edge --config ")
    assert fixes[1].endswith(f"{tmp_path / 'edge.yaml'} add-connector hp --route PREFIX --vnet acme`")
    assert fixes[2] == "did you mean 'acme'?"
    assert "'alice' (vnet acme) and 'bob' (vnet acne)" in found[3].message


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("routes: [10.0.50.0/24]", "routes: [10.0.50.1/24]", "host bits"),
        ("routes: [10.0.50.0/24]", "routes: [0.0.0.0/0]", "everything"),
        ("routes: [10.0.50.0/24]", "routes: ['::/0']", "everything"),
        ("routes: [10.0.50.0/24]", "routes: [127.0.0.0/8]", "never routed"),
        ("routes: [10.0.50.0/24]", "routes: [128.0.0.0/1]", "never routed"),
        ("routes: [10.0.50.0/24]", "routes: [10.0.50.0/24, 10.0.50.0/24]", "twice"),
        ("routes: [10.0.50.0/24]", "routes: [100.96.0.128/25]", "overlaps the pool"),
        ("routes: [10.0.50.0/24]", "routes: [100.0.0.0/8]", "overlaps the pool"),
        ("routes: [10.0.50.0/24]", "routes: []", "no packet can ever pass"),
        ("127.0.0.1:51820", "10.0.50.9:51820", "inside itself"),
        ("127.0.0.1:51820", "pop.example:51820", "not an IP address"),
        ("KEY2", "KEY1", "same public key"),
        ("KEY2", b64(public_key(PRIVATE)), "own public key"),
        ("KEY2", b64(bytes(32)), "low-order"),
        ("KEY2", b64(bytes(31) + b"\x80"), "low-order"),
        ("KEY2", "KEY22", "not a WireGuard key"),
        ("100.96.0.12,", "100.96.1.12,", "outside the pool"),
        ("100.96.0.12,", "100.96.0.1,", "PoP's own address"),
        ("100.96.0.12,", "100.96.0.0,", "network or broadcast"),
        ("100.96.0.12,", "100.96.0.255,", "network or broadcast"),
        ("user: alice,", "routes: [10.9.0.0/16],", "addresses, not routes"),
        ("mtu: 1400", "mtu: 1279", "too small for IPv6"),
        ("mtu: 1400", "mtu: 500", "576"),
        ("pool: 100.96.0.0/24\n", "pool: 100.96.0.0/31\n", "no room"),
        ("pool: 100.96.0.0/24\n", "pool: 'fd00::/64'\n", "not IPv4"),
        ("pool: 100.96.0.0/24\n", "pool: 0.0.0.0/0\n", "never routed"),
        ("keepalive: 25s", "keepalive: 70000s", "between 1s and 65535s"),
        ("id: ping", "id: voice", "two rules"),
        ("id: ping", "id: 'a b'", "not a name"),
        ("to: {site: hq}, ports", "to: {site: hq, vnet: umbrella}, ports", "is for vnet 'umbrella'"),
        ("to: {site: hq}, ports", "to: {client: hq}, ports", "no client 'hq'"),
        ("to: {site: hq}, ports", "to: {tunnel: bob}, ports", "no tunnel 'bob'"),
        ("hook_budget: 5ms", "hooks: ['no.such:thing']", "No module named"),
        ("hook_budget: 5ms", "hooks: ['os:nothing']", "no attribute"),
        ("hook_budget: 5ms", "hooks: ['os:sep']", "not callable"),
        ("hook_budget: 5ms", "hooks: ['nothing']", "no hook is installed"),
        ("hook_budget: 5ms", "hooks: ['asyncio:sleep']", "is async"),
        ("hook_budget: 5ms", "hook_budget: 0", "no hook could keep to it"),
        ("name: lab-1", "name: 'lab 1'", "not a name"),
        ("  alice:", "  'a/b':", "not a name"),
        ("version: 1", "version: 2", "choices"),
        ("state: state.db", "private_key: abc", "unknown key"),
        ("private_key_file: pop.key", "private_key_file: none.key", "No such file"),
        ("private_key_file: pop.key", "private_key_file: tunnels.d", "not a regular file"),
    ],
)
def test_what_is_refused(write: Write, old: str, new: str, word: str) -> None:
    assert GOOD.count(old) >= 1
    found = problems(write(GOOD.replace(old, new, 1)))
    assert word in "\n".join(p.message for p in found)
    assert all(p.line > 0 and p.column > 0 for p in found)


def connector(name: str, n: int, routes: str, **more: object) -> TunnelConfig:
    prefixes = tuple(Prefix.parse(route) for route in routes.split())
    return TunnelConfig(name, "acme", Kind.CONNECTOR, key(n), routes=prefixes, **more)  # type: ignore[arg-type]


def built(*tunnels: TunnelConfig, nested: bool = False) -> EdgeConfig:
    vnets = {
        name: VnetConfig(name, Prefix.parse("100.96.0.0/24"), nested_routes=nested)
        for name in ("acme", "other")
    }
    return EdgeConfig("lab", ("127.0.0.1", 0), PRIVATE, vnets, {tunnel.name: tunnel for tunnel in tunnels})


def test_a_configuration_built_in_code_is_checked_alike() -> None:
    both = built(
        connector("one", 1, "10.1.0.0/16 10.3.0.0/16"), connector("two", 2, "10.2.0.0/16 10.1.5.0/24")
    )
    (finding,) = check(both)
    assert finding.path == ("tunnels", "two", "routes", 1)
    assert "10.1.5.0/24 of tunnel 'two' lies inside 10.1.0.0/16 of tunnel 'one'" in finding.message
    assert check(replace(both, tunnels={t.name: replace(t, vnet=v) for t, v in zip(
        both.tunnels.values(), ("acme", "other"), strict=True)})) == []  # fmt: skip


def test_equal_prefixes_name_both_tunnels() -> None:
    (finding,) = check(
        built(connector("one", 1, "10.1.0.0/16"), connector("two", 2, "10.1.0.0/16"), nested=True)
    )
    assert "'one' and 'two' both have it" in finding.message


def test_nesting_and_default_routes_must_be_meant() -> None:
    one, two = connector("one", 1, "10.1.0.0/16"), connector("two", 2, "10.1.5.0/24")
    assert check(built(one, two, nested=True)) == []
    everything = connector("exit", 3, "0.0.0.0/0", default_route=True)
    assert check(built(one, everything)) == []
    assert len(check(built(one, replace(everything, default_route=False)))) == 1


def test_a_tunnel_in_two_files_is_named(write: Write) -> None:
    body = "kind: client\nvnet: acme\npublic_key: KEY5\naddresses: [100.96.0.50]\n"
    assert any("is also in" in p.message for p in problems(write(GOOD, alice=body)))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601])
@pytest.mark.parametrize("name", ["pop.key", "hq.psk"])
def test_a_key_that_others_may_use_is_refused(write: Write, tmp_path: Path, mode: int, name: str) -> None:
    path = write()
    (tmp_path / name).chmod(mode)
    (problem,) = problems(path)
    assert problem.fix == f"chmod 600 {tmp_path / name}"
    assert f"{mode:04o}" in problem.message
    assert problem.line in (4, 20)


@pytest.mark.parametrize("content", ["", "short", b64(bytes(31)), b64(PRIVATE) + "x", "\0" * 200])
def test_a_key_file_without_a_key(write: Write, tmp_path: Path, content: str) -> None:
    path = write()
    (tmp_path / "pop.key").write_text(content)
    (problem,) = problems(path)
    assert "not a WireGuard key" in problem.message
    assert not content or content not in str(problem)


def test_a_fifo_in_the_place_of_a_key_does_not_hang(write: Write, tmp_path: Path) -> None:
    path = write()
    (tmp_path / "pop.key").unlink()
    os.mkfifo(tmp_path / "pop.key", 0o600)
    assert "not a regular file" in problems(path)[0].message


def test_a_key_in_the_place_of_a_file_name_is_not_repeated(write: Write) -> None:
    (problem,) = problems(write(GOOD.replace("pop.key", b64(PRIVATE))))
    assert b64(PRIVATE) not in str(problem)
    assert "not the name of a file" in problem.message


def forms(secret: bytes) -> list[str]:
    return [
        b64(secret),
        b64(secret).rstrip("="),
        base64.urlsafe_b64encode(secret).decode(),
        secret.hex(),
        repr(secret)[2:-1],
    ]


def test_no_text_of_a_configuration_holds_a_secret(write: Write) -> None:
    config = load(write())
    shown = [
        f"{o!r} {o!s} {o}"
        for o in (config, config.tunnels["hq"], config.vnets["acme"], [config], {"c": config})
    ]
    for text in shown:
        for secret in (config.private_key, PSK):
            assert not any(form in text for form in forms(secret))


def test_a_process_that_prints_everything_prints_no_secret(write: Write) -> None:
    program = (
        "import sys, pathlib, traceback, edge.config as c\n"
        "config = c.load(pathlib.Path(sys.argv[1]))\n"
        "print(config, repr(config), '%s' % config, list(config.tunnels.values()))\n"
        "try: raise RuntimeError(config)\n"
        "except RuntimeError: traceback.print_exc()\n"
        "with_locals = traceback.TracebackException.from_exception(ValueError(config), capture_locals=True)\n"
        "print(*with_locals.format(), locals())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(write())],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "lab-1" in ran.stdout
    for secret in (PRIVATE, PSK):
        assert not any(form in ran.stdout + ran.stderr for form in forms(secret))


def test_the_low_order_points_are_those_that_agree_on_zero() -> None:
    private = X25519PrivateKey.generate()
    for point in LOW_ORDER:
        with pytest.raises(ValueError):
            private.exchange(X25519PublicKey.from_public_bytes(point))
    assert len(LOW_ORDER) == 7


def allow_all(flow: Flow) -> Verdict | None:
    return Verdict(Action.ALLOW, "")


def test_a_key_where_only_another_place_has_it(write: Write) -> None:
    (problem,) = problems(write(GOOD + "policy:\n  - {id: all, action: allow}\n"))
    assert (problem.message, problem.fix) == ("unknown key 'policy'", "it belongs under vnets.NAME")


def test_two_files_that_contradict_each_other_are_both_named(write: Write, tmp_path: Path) -> None:
    body = "kind: client\nvnet: acme\npublic_key: KEY5\naddresses: [100.96.0.12]\n"
    (problem,) = problems(write(GOOD, bob=body))
    alice = GOOD.splitlines().index("  alice:") + 2
    assert problem.file == str(tmp_path / "tunnels.d" / "bob.yaml")
    assert f"(the other is {tmp_path / 'edge.yaml'}:{alice}:" in problem.message
    (problem,) = problems(write(GOOD, bob=body.replace("KEY5", "KEY2").replace("0.12", "0.13")))
    assert "same public key" in problem.message and "(the other is " in problem.message


def test_a_tunnel_whose_file_has_a_mistake_is_not_missed_by_rules(write: Write) -> None:
    text = GOOD.replace("to: {site: hq}, ports", "to: {client: bob}, ports")
    (problem,) = problems(write(text, bob="kind: clint\nvnet: acme\npublic_key: KEY5\n"))
    assert problem.fix == "did you mean 'client'?"


def test_a_scenario_is_called_one(write: Write, tmp_path: Path) -> None:
    scenario = ROOT / "scenarios" / "library" / "01-softphone-call.yaml"
    (problem,) = problems(write(scenario.read_text()))
    assert problem.message.startswith("a scenario") and f"poplab run {tmp_path / 'edge.yaml'}" in problem.fix


def test_hooks_are_found_by_dotted_path(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_hooks.py").write_text("class Deep:\n    @staticmethod\n    def hook(flow): return None\n")
    monkeypatch.syspath_prepend(tmp_path)
    (hook,) = (
        load(write(GOOD.replace("hook_budget: 5ms", "hooks: ['my_hooks:Deep.hook']"))).vnets["acme"].hooks
    )
    assert hook(Flow("v", 0, b"", b"", 0, 0, -1, -1, Party("a", "client"), Party("b", "client"))) is None


def test_a_hook_module_that_raises_is_a_mistake_with_a_place(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad_hooks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = problems(write(GOOD.replace("hook_budget: 5ms", "hooks: ['bad_hooks:x']")))
    assert "ZeroDivisionError" in problem.message
    assert (problem.line, problem.column) == (11, 13)
