"""Replicas of one site: what they must have, what they must have in common, and what stays refused."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.config import EdgeConfig, Kind, ProbeSettings, TunnelConfig, VnetConfig, check, load, public_key
from edge.document import Prefix, address_bytes
from edge.errors import ConfigError
from edge.proto.forwarding.policy import Action, Rule, Selector

PRIVATE = bytes([7] * 32)
POOL = Prefix.parse("100.96.0.0/24")


def connector(name: str, n: int, routes: str = "10.0.50.0/24", site: str = "hq", **more: Any) -> TunnelConfig:
    values: dict[str, Any] = {"addresses": (bytes([100, 96, 0, 10 + n]),), **more}
    prefixes = tuple(Prefix.parse(route) for route in routes.split())
    key = public_key(bytes([n] * 32))
    return TunnelConfig(name, "acme", Kind.CONNECTOR, key, routes=prefixes, site=site, **values)


def pop(*tunnels: TunnelConfig, rules: tuple[Rule, ...] = (), **more: Any) -> EdgeConfig:
    vnets = {"acme": VnetConfig("acme", POOL, policy=rules), "other": VnetConfig("other", POOL)}
    return EdgeConfig("lab", ("127.0.0.1", 0), PRIVATE, vnets, {t.name: t for t in tunnels}, **more)


def test_replicas_share_their_routes() -> None:
    assert check(pop(connector("a", 1), connector("b", 2), connector("c", 3))) == []
    two = "10.0.50.0/24 10.0.60.0/24"
    assert check(pop(connector("a", 1, two), connector("b", 2, " ".join(reversed(two.split()))))) == []


def test_the_same_prefix_in_two_sites_stays_an_error() -> None:
    (finding,) = check(pop(connector("a", 1, site="a"), connector("b", 2, site="b")))
    assert finding.path == ("tunnels", "b", "routes", 0)
    assert "'a' and 'b' both have it" in finding.message and "same `site`" in finding.fix
    assert len(check(pop(connector("a", 1, site=""), connector("b", 2, site="")))) == 1


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ("10.0.60.0/24", ["only 'a' has 10.0.50.0/24", "only 'b' has 10.0.60.0/24"]),
        ("10.0.50.0/24 10.0.60.0/24", ["only 'b' has 10.0.60.0/24"]),
    ],
)
def test_the_same_site_with_other_routes_is_an_error(routes: str, words: list[str]) -> None:
    (finding,) = check(pop(connector("a", 1), connector("b", 2, routes)))
    assert finding.path == ("tunnels", "b", "routes")
    assert all(word in finding.message for word in ["'a' and 'b' are replicas of site 'hq'", *words])
    assert "the same `routes`" in finding.fix and "another `site`" in finding.fix


def test_in_two_networks_a_site_is_two() -> None:
    other = replace(connector("b", 2, "10.9.0.0/16"), vnet="other")
    assert check(pop(connector("a", 1), other)) == []


def test_a_replica_needs_an_address_to_be_probed_at() -> None:
    lone = connector("a", 1, addresses=())
    assert check(pop(lone)) == [], "who has no replica needs none"
    taken = connector("x", 5, "10.0.99.0/24", site="x", addresses=(address_bytes("100.96.0.2"),))
    (finding,) = check(pop(lone, connector("b", 2), taken))
    assert finding.path == ("tunnels", "a")
    assert "'a' is one of 2 replicas of site 'hq'" in finding.message and "probe" in finding.message
    assert "`addresses: [100.96.0.3]`" in finding.fix


@pytest.mark.parametrize("more", [{"user": "eve"}, {"groups": ("x",)}, {"tags": ("x",)}])
def test_rules_see_all_replicas_alike(more: dict[str, Any]) -> None:
    (finding,) = check(pop(connector("a", 1), connector("b", 2, **more)))
    (word,) = more
    assert finding.path == ("tunnels", "b", word)
    assert "failover would change" in finding.message and f"same `{word}`" in finding.fix


def test_a_rule_names_the_site_not_one_of_its_replicas() -> None:
    by_name = Rule("r", Action.ALLOW, destination=Selector(tunnels=("b",)))
    (finding,) = check(pop(connector("a", 1), connector("b", 2), rules=(by_name,)))
    assert finding.path == ("vnets", "acme", "policy", 0, "to", "tunnel")
    assert finding.fix == "select by `site: hq`"
    assert check(pop(connector("b", 2), rules=(by_name,))) == []
    by_site = Rule("r", Action.ALLOW, destination=Selector(sites=("hq",)))
    assert check(pop(connector("a", 1), connector("b", 2), rules=(by_site,))) == []


def test_a_client_has_no_preference() -> None:
    alice = TunnelConfig("alice", "acme", Kind.CLIENT, public_key(bytes([9] * 32)),
                         addresses=(bytes([100, 96, 0, 9]),), preference=1)  # fmt: skip
    (finding,) = check(pop(alice))
    assert finding.path == ("tunnels", "alice", "preference")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("interval", 0.0),
        ("interval", 0.001),
        ("interval", 61.0),
        ("misses", 0),
        ("misses", 101),
        ("hold", -1.0),
    ],
)
def test_probing_has_bounds(word: str, value: float) -> None:
    (finding,) = check(pop(probe=replace(ProbeSettings(), **{word: value})))  # type: ignore[arg-type]
    assert finding.path == ("probe", word)


FILE = """\
version: 1
name: lab
listen: {wireguard: "127.0.0.1:0"}
private_key_file: pop.key
probe: {interval: 100ms, misses: 3, hold: 1s, preempt: true}
vnets:
  acme: {pool: 100.96.0.0/24}
tunnels:
  hq-a: {kind: connector, vnet: acme, public_key: KEY1, addresses: [100.96.0.2],
         routes: [10.0.50.0/24], site: hq, preference: 2}
  hq-b: {kind: connector, vnet: acme, public_key: KEY2, addresses: [100.96.0.3],
         routes: [10.0.50.0/24], site: hq, preference: 1}
"""


def written(folder: Path, text: str) -> Path:
    for n in (1, 2):
        text = text.replace(f"KEY{n}", f'"{b64encode(public_key(bytes([n] * 32))).decode()}"')
    (folder / "pop.key").write_text(b64encode(PRIVATE).decode())
    (folder / "pop.key").chmod(0o600)
    path = folder / "edge.yaml"
    path.write_text(text)
    return path


def test_a_file_with_replicas(tmp_path: Path) -> None:
    config = load(written(tmp_path, FILE))
    assert config.probe == ProbeSettings(0.1, 3, 1.0, True)
    assert [(t.site, t.preference) for t in config.tunnels.values()] == [("hq", 2), ("hq", 1)]
    assert load(written(tmp_path, FILE.replace("probe:", "# probe:"))).probe == ProbeSettings()


def test_mistakes_have_a_place(tmp_path: Path) -> None:
    text = FILE.replace("misses: 3", "misses: 0").replace("addresses: [100.96.0.3],", "")
    with pytest.raises(ConfigError) as wrong:
        load(written(tmp_path, text))
    assert [(p.line, p.column > 1) for p in wrong.value.problems] == [(5, True), (11, True)]


def test_a_replica_in_a_file_of_its_own_names_the_file_of_the_first(tmp_path: Path) -> None:
    shared, alone = FILE.split("  hq-b: ")
    path = written(tmp_path, shared)
    key = public_key(bytes([2] * 32))
    (tmp_path / "tunnels.d").mkdir()
    (tmp_path / "tunnels.d" / "hq-b.yaml").write_text(
        alone.replace("KEY2", f'"{b64encode(key).decode()}"')
        .replace("50.0/24", "60.0/24")
        .replace("e: 1", "e: 3")
    )
    with pytest.raises(ConfigError) as wrong:
        load(path)
    (problem,) = wrong.value.problems
    assert problem.file.endswith("hq-b.yaml") and "not for the same routes" in problem.message
    assert f"(the other is {path}:10:" in problem.message
