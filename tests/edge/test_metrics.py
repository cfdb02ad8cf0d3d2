from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge.metrics import (
    DATAGRAM_REASONS,
    FORWARD_BOUNDS,
    PACKET_REASONS,
    Histogram,
    MasqueSnapshot,
    SiteSnapshot,
    Snapshot,
    TunnelSnapshot,
    VnetSnapshot,
    exposition,
    families,
    registry,
)
from edge.proto.forwarding import ReplicaState
from edge.proto.types import DropReason

GRAFANA = Path(__file__).parents[2] / "grafana"
EDGE = Path(__file__).parents[2] / "edge"
FULL = Snapshot(
    vnets=(
        VnetSnapshot(
            "acme", packets_in=10, bytes_in=1000, packets_generated=1, packets_out=7, bytes_out=700,
            packets_held=1, drops={DropReason.POLICY_BLOCKED: 2, DropReason.SPOOFED_SOURCE: 1}, flows=3,
            flow_limit=100, rule_hits={("voice", "allow"): 3, ("default", "block"): 2},
        ),
        VnetSnapshot("umbrella"),
    ),
    tunnels=(
        TunnelSnapshot("hq", "acme", "connector", up=True, handshakes=2, handshakes_initiated=1,
                       last_handshake_age=3.5, packets_rx=4, bytes_rx=400, packets_tx=5, bytes_tx=500,
                       endpoint="192.0.2.7:4500"),
        TunnelSnapshot("alice", "acme", "client"),
        TunnelSnapshot("bob", "acme", "client", tunnel="masque", http="h2", up=True, handshakes=3),
    ),
    sites=(
        SiteSnapshot("hq", "acme", active="hq", failovers=2,
                     replicas={"hq": ReplicaState.ACTIVE, "hq-b": ReplicaState.DOWN}, rtt={"hq": 0.02}),
        SiteSnapshot("hq", "umbrella"),
    ),
    datagrams_in=12, datagrams_out=11, datagram_drops={DropReason.BAD_MAC1: 4}, started_at=1.7e9,
    generation=3, reloads_ok=2, reloads_failed=1,
    masque=MasqueSnapshot(
        connections={"h3": 5, "h2": 1}, accepted={"h3": 9, "h2": 2}, failed={"h2": 4}, sessions={"h3": 7},
        refused={401: 6}, fallbacks=2, returns=1, retries=3, version_negotiations=1, migrations=8,
    ),
)  # fmt: skip


def samples(snapshot: Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(registry(lambda: snapshot)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(snapshot: Snapshot, name: str, **labels: str) -> float:
    return samples(snapshot)[name, tuple(sorted(labels.items()))]


def test_every_count_appears_under_its_labels() -> None:
    assert labelled(FULL, "poplab_vnet_packets_total", vnet="acme", direction="in") == 10
    assert labelled(FULL, "poplab_vnet_bytes_total", vnet="acme", direction="out") == 700
    assert labelled(FULL, "poplab_vnet_generated_packets_total", vnet="acme") == 1
    assert labelled(FULL, "poplab_vnet_held_packets", vnet="acme") == 1
    assert labelled(FULL, "poplab_dropped_packets_total", vnet="acme", reason="policy_blocked") == 2
    assert labelled(FULL, "poplab_rule_hits_total", vnet="acme", rule="voice", action="allow") == 3
    assert labelled(FULL, "poplab_tunnel_up", vnet="acme", tunnel="hq", kind="connector") == 1
    assert labelled(FULL, "poplab_tunnel_up", vnet="acme", tunnel="alice", kind="client") == 0
    assert labelled(FULL, "poplab_tunnel_packets_total", vnet="acme", tunnel="hq", direction="in") == 4
    assert labelled(FULL, "poplab_tunnel_last_handshake_age_seconds", vnet="acme", tunnel="hq") == 3.5
    assert labelled(FULL, "poplab_dropped_datagrams_total", reason="bad_mac1") == 4
    assert labelled(FULL, "poplab_config_reloads_total", result="failed") == 1
    assert labelled(FULL, "poplab_start_time_seconds") == 1.7e9


def test_every_reason_is_there_before_the_first_drop() -> None:
    assert set(PACKET_REASONS) | set(DATAGRAM_REASONS) == set(DropReason)
    assert len(PACKET_REASONS) <= 32, "they are series of every network"
    assert labelled(FULL, "poplab_dropped_packets_total", vnet="umbrella", reason="no_route") == 0
    assert labelled(FULL, "poplab_dropped_datagrams_total", reason="unknown_peer") == 0
    of_a_vnet = [key for key in samples(FULL) if key[0] == "poplab_dropped_packets_total"]
    assert len(of_a_vnet) == 2 * len(PACKET_REASONS)


def test_what_the_masque_port_counts_appears_under_its_labels() -> None:
    assert labelled(FULL, "poplab_masque_connections", http="h3") == 5
    assert labelled(FULL, "poplab_masque_handshakes_total", http="h3", result="ok") == 9
    assert labelled(FULL, "poplab_masque_handshakes_total", http="h2", result="failed") == 4
    assert labelled(FULL, "poplab_masque_sessions_total", http="h3") == 7
    assert labelled(FULL, "poplab_masque_sessions_total", http="h2") == 0
    assert labelled(FULL, "poplab_masque_refused_requests_total", status="401") == 6
    assert labelled(FULL, "poplab_masque_switches_total", to="h2") == 2
    assert labelled(FULL, "poplab_masque_switches_total", to="h3") == 1
    assert labelled(FULL, "poplab_masque_retries_total") == 3
    assert labelled(FULL, "poplab_masque_version_negotiations_total") == 1
    assert labelled(FULL, "poplab_masque_migrations_total") == 8


def test_a_tunnel_shows_its_http_version_only_if_it_is_one_of_masque() -> None:
    of = {"vnet": "acme", "tunnel": "bob"}
    assert [labelled(FULL, "poplab_tunnel_http", **of, http=version) for version in ("h3", "h2")] == [0, 1]
    assert {dict(labels)["tunnel"] for name, labels in samples(FULL) if name == "poplab_tunnel_http"} == {
        "bob"
    }


def test_every_status_of_a_refusal_is_there_before_the_first_and_there_are_no_others() -> None:
    shown = {dict(labels)["status"] for name, labels in samples(Snapshot()) if "refused_requests" in name}
    sources = [file.read_text() for file in (EDGE / "proto" / "masque").glob("*.py")]
    said = {status for text in sources for status in re.findall(r"(?:BadRequest|refuse)\(\s*(\d{3})\b", text)}
    assert said | {"403"} == shown


def test_a_tunnel_without_a_handshake_has_no_age() -> None:
    ages = [key for key in samples(FULL) if key[0] == "poplab_tunnel_last_handshake_age_seconds"]
    assert len(ages) == 1


def test_a_replica_has_one_state_and_a_round_trip_once_it_has_answered() -> None:
    of_hq = {"vnet": "acme", "site": "hq"}
    states = [
        labelled(FULL, "poplab_replica_state", tunnel=tunnel, state=state, **of_hq)
        for tunnel in ("hq", "hq-b")
        for state in ReplicaState
    ]
    assert states == [1, 0, 0, 0, 0, 1]
    assert labelled(FULL, "poplab_site_failovers_total", **of_hq) == 2
    assert labelled(FULL, "poplab_probe_rtt_seconds", tunnel="hq", **of_hq) == 0.02
    assert len([name for name, _ in samples(FULL) if name == "poplab_probe_rtt_seconds"]) == 1
    assert FULL.site("hq").active == "hq" and FULL.site("hq", "umbrella").active == ""


def test_what_a_peer_chooses_is_never_a_label() -> None:
    assert "192.0.2.7" not in exposition(registry(lambda: FULL)).decode()


def test_a_scrape_reads_the_relay_afresh() -> None:
    now = [Snapshot(datagrams_in=1), Snapshot(datagrams_in=2)]
    own = registry(lambda: now.pop(0))
    assert b'poplab_datagrams_total{direction="in"} 1.0' in exposition(own)
    assert b'poplab_datagrams_total{direction="in"} 2.0' in exposition(own)


def test_two_relays_have_registries_of_their_own() -> None:
    one, two = registry(lambda: Snapshot(datagrams_in=1)), registry(lambda: Snapshot(datagrams_in=2))
    assert exposition(one) != exposition(two)


def test_names_follow_the_conventions() -> None:
    for family in families(FULL):
        assert re.fullmatch(r"poplab_[a-z0-9_]+", family.name)
        assert family.documentation.endswith(".")
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total")
            assert set(sample.labels) <= {
                "vnet",
                "site",
                "state",
                "tunnel",
                "direction",
                "reason",
                "rule",
                "action",
                "kind",
                "result",
                "http",
                "status",
                "to",
                "le",
            }


def test_accounting() -> None:
    acme = FULL.vnet("acme")
    assert acme.dropped == 3
    assert acme.unaccounted == 0
    assert VnetSnapshot("x", packets_in=5, packets_out=4).unaccounted == 1
    assert FULL.tunnel("hq").up


def test_histogram_counts_are_cumulative_on_the_wire() -> None:
    histogram = Histogram((0.001, 0.01, 0.1))
    for value, times in ((0.0005, 2), (0.001, 1), (0.05, 3), (5.0, 1)):
        histogram.observe(value, times)
    frozen = histogram.snapshot()
    assert frozen.counts == (3, 0, 3, 1)
    assert frozen.count == 7
    assert frozen.total == pytest.approx(5.152)
    shown = Snapshot(forward_seconds=frozen)
    on_the_wire = [
        labelled(shown, "poplab_forward_seconds_bucket", le=le) for le in ("0.001", "0.01", "0.1", "+Inf")
    ]
    assert on_the_wire == [3, 3, 6, 7]
    assert labelled(shown, "poplab_forward_seconds_count") == 7
    histogram.observe(0.0)
    assert frozen.count == 7


def test_quantiles_are_bucket_bounds() -> None:
    histogram = Histogram((1.0, 2.0, 3.0))
    assert histogram.snapshot().quantile(0.5) is None
    for value in (0.5, 1.5, 1.6, 2.5, 9.0):
        histogram.observe(value)
    frozen = histogram.snapshot()
    assert [frozen.quantile(q) for q in (0.0, 0.2, 0.5, 0.8, 1.0)] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert tuple(sorted(FORWARD_BOUNDS)) == FORWARD_BOUNDS


NOT_SHOWN: set[str] = set()
"""Families that no panel needs; a new family goes to the dashboard or, with a reason, here."""


def exported() -> set[str]:
    return {family.name + ("_total" if family.type == "counter" else "") for family in families(Snapshot())}


def dashboard() -> dict:
    return json.loads((GRAFANA / "dashboards" / "poplab.json").read_text())


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def mentioned() -> set[str]:
    """Metrics that the dashboard names, the series of a histogram by its family."""
    words = re.findall(r"poplab_[a-z0-9_]+", json.dumps(dashboard()["panels"]))
    histograms = {family.name for family in families(Snapshot()) if family.type == "histogram"}
    return {
        base if (base := re.sub(r"_(bucket|sum|count)$", "", word)) in histograms else word for word in words
    }


def test_the_dashboard_and_the_exporter_know_the_same_metrics() -> None:
    assert mentioned() - exported() == set()
    assert exported() - mentioned() == NOT_SHOWN


def test_the_dashboard_uses_only_labels_that_exist() -> None:
    known = {label for name_labels in samples(FULL) for label, _ in name_labels[1]}
    for query in queries():
        for matchers in re.findall(r"\{([^{}]*)\}", query):
            assert set(re.findall(r"(\w+)\s*=~?", matchers)) <= known
        for group in re.findall(r"\bby\s*\(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= known


def test_the_dashboard_is_templated() -> None:
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert "poplab_" in variables["vnet"]["definition"]
    for panel in dashboard()["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["title"]
            assert panel["description"]
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_provisioning_names_files_that_exist() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/poplab.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/poplab.yaml").read_text())["providers"]
    (job,) = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())["scrape_configs"]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:9180"]
