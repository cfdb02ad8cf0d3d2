"""What the PoP counts, as frozen values, and their form on ``/metrics``.

The relay fills a `Snapshot` from plain integers when somebody asks; nothing in the packet path knows
Prometheus. Every label value is configured or a member of a closed set: no peer can grow the number of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.proto.forwarding.replica import ReplicaState
from edge.proto.types import DropReason

DATAGRAM_REASONS = (
    DropReason.MALFORMED, DropReason.BAD_MAC1, DropReason.BAD_COOKIE, DropReason.COOKIE_SENT,
    DropReason.HANDSHAKE_RATE, DropReason.HANDSHAKE_QUEUE_FULL, DropReason.HANDSHAKE_FAILED,
    DropReason.HANDSHAKE_REPLAYED, DropReason.LOW_ORDER_POINT, DropReason.UNKNOWN_PEER,
    DropReason.UNKNOWN_SESSION, DropReason.SESSION_EXPIRED, DropReason.DECRYPT_FAILED, DropReason.REPLAYED,
    DropReason.ADDRESS_UNPROVEN, DropReason.OUT_OF_SCOPE, DropReason.QUEUE_FULL, DropReason.OTHER,
)  # fmt: skip
"""Why an outer datagram may die: on the page from the start, for a rate needs a 0 to begin with."""

PACKET_REASONS = (
    *(reason for reason in DropReason if reason not in DATAGRAM_REASONS),
    DropReason.OUT_OF_SCOPE,  # these are of either
    DropReason.QUEUE_FULL,
    DropReason.OTHER,
)
"""Why an inner packet may die: as many series for each virtual network."""

HTTP_VERSIONS = ("h3", "h2")

REFUSALS = (400, 401, 403, 404, 405, 501, 502)
"""Of requests for a session; all that there are."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HANDSHAKE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0)
"""Seconds from the first message of a handshake to a session that both ends use: a round trip and the repetitions."""

FORWARD_BOUNDS = (0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)
"""Seconds from a batch's read to its send."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """`counts` has one entry per bound and one for what exceeds the last; not cumulative."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Upper bound of the bucket that holds quantile `q`, or the last bound; None if empty."""
        if not (count := self.count):
            return None
        for bound, reached in zip(self.bounds, accumulate(self.counts), strict=False):
            if reached >= q * count:
                return bound
        return self.bounds[-1]


class Histogram:
    """Counts in buckets; `observe` costs one bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add `times` observations of `value`: a batch's packets share one measurement."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def snapshot(self) -> HistogramSnapshot:
        return HistogramSnapshot(self.bounds, tuple(self.counts), self.total)


NO_HANDSHAKES = Histogram(HANDSHAKE_BOUNDS).snapshot()
NO_FORWARDING = Histogram(FORWARD_BOUNDS).snapshot()


@dataclass(frozen=True, slots=True)
class VnetSnapshot:
    """One virtual network. packets_in + packets_generated == packets_out + drops + packets_held."""

    name: str
    packets_in: int = 0
    bytes_in: int = 0
    packets_generated: int = 0  # answers of the PoP itself: ICMP errors, TCP resets, echo replies
    packets_out: int = 0
    bytes_out: int = 0
    packets_held: int = 0  # fragments that wait for their first one, packets that wait for a handshake
    drops: Mapping[DropReason, int] = field(default_factory=dict)
    flows: int = 0
    flow_limit: int = 0
    rule_hits: Mapping[tuple[str, str], int] = field(
        default_factory=dict
    )  # (rule id, action) -> flows decided; 0 for a rule that never did

    @property
    def dropped(self) -> int:
        return sum(self.drops.values())

    @property
    def unaccounted(self) -> int:
        """0, always: what came in and is neither out, nor dropped with a reason, nor held."""
        return self.packets_in + self.packets_generated - self.packets_out - self.dropped - self.packets_held


@dataclass(frozen=True, slots=True)
class TunnelSnapshot:
    """One configured tunnel; rx is from the peer, tx is to it."""

    name: str
    vnet: str
    kind: str
    tunnel: str = "wireguard"  # how it is made; or masque
    http: str = ""  # h3 or h2, of a masque tunnel that is up
    up: bool = False
    handshakes: int = 0  # completed, whoever began; with masque, sessions
    handshakes_initiated: int = 0  # begun by the PoP
    last_handshake_age: float | None = None
    packets_rx: int = 0
    bytes_rx: int = 0
    packets_tx: int = 0
    bytes_tx: int = 0
    endpoint: str = ""  # for people; never a label, a peer chooses it


@dataclass(frozen=True, slots=True)
class SiteSnapshot:
    """A site with replicas: several connectors that are one attachment."""

    name: str
    vnet: str
    active: str = ""  # the tunnel that has the traffic; empty: all are down
    failovers: int = 0  # times that another took over from one that was lost
    replicas: Mapping[str, ReplicaState] = field(default_factory=dict)  # by tunnel, in order of preference
    rtt: Mapping[str, float] = field(default_factory=dict)  # seconds, of the latest probe that was answered


@dataclass(frozen=True, slots=True)
class MasqueSnapshot:
    """What the MASQUE port counts. `http` is h3 (QUIC) or h2 (TLS over TCP)."""

    connections: Mapping[str, int] = field(default_factory=dict)  # open now, by http
    accepted: Mapping[str, int] = field(default_factory=dict)  # handshakes done, ever, by http
    failed: Mapping[str, int] = field(default_factory=dict)  # that never got through the handshake, by http
    sessions: Mapping[str, int] = field(default_factory=dict)  # accepted requests, ever, by http
    refused: Mapping[int, int] = field(default_factory=dict)  # requests, by HTTP status
    fallbacks: int = 0  # tunnels that had spoken over h3 and now do over h2
    returns: int = 0  # and the other way round
    retries: int = 0  # Retry packets sent
    version_negotiations: int = 0
    migrations: int = 0  # peers whose address changed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the PoP counts, at one instant."""

    vnets: tuple[VnetSnapshot, ...] = ()
    tunnels: tuple[TunnelSnapshot, ...] = ()
    sites: tuple[SiteSnapshot, ...] = ()
    datagrams_in: int = 0
    datagrams_out: int = 0
    datagram_drops: Mapping[DropReason, int] = field(default_factory=dict)
    masque: MasqueSnapshot | None = None  # None: it does not listen for it
    handshake_seconds: HistogramSnapshot = NO_HANDSHAKES
    forward_seconds: HistogramSnapshot = NO_FORWARDING
    started_at: float = 0.0  # seconds since the epoch
    generation: int = 0  # of the configuration in force
    reloads_ok: int = 0
    reloads_failed: int = 0

    def vnet(self, name: str) -> VnetSnapshot:
        return next(v for v in self.vnets if v.name == name)

    def tunnel(self, name: str) -> TunnelSnapshot:
        return next(t for t in self.tunnels if t.name == name)

    def site(self, name: str, vnet: str = "") -> SiteSnapshot:
        """Of `vnet`, where several have a site of that name."""
        return next(s for s in self.sites if s.name == name and vnet in ("", s.vnet))


class PopCollector(Collector):
    """Reads one snapshot per scrape and writes every family, empty ones too."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """The families without samples: registration must not need a running relay."""
        return families(Snapshot())

    def collect(self) -> Iterator[Metric]:
        return families(self._snapshot())


def families(now: Snapshot) -> Iterator[Metric]:
    """All metric families of `now`."""
    yield from _vnet_families(now)
    yield from _tunnel_families(now)
    yield from _site_families(now)
    yield from _masque_families(now.masque or MasqueSnapshot())
    yield from _pop_families(now)


def _vnet_families(now: Snapshot) -> Iterator[Metric]:
    packets = CounterMetricFamily(
        "poplab_vnet_packets", "Inner packets by direction.", labels=["vnet", "direction"]
    )
    octets = CounterMetricFamily(
        "poplab_vnet_bytes", "Bytes of inner packets by direction.", labels=["vnet", "direction"]
    )
    generated = CounterMetricFamily(
        "poplab_vnet_generated_packets",
        "Packets that the PoP itself wrote, such as ICMP errors.",
        labels=["vnet"],
    )
    held = GaugeMetricFamily(
        "poplab_vnet_held_packets", "Packets that wait for a fragment or a handshake.", labels=["vnet"]
    )
    drops = CounterMetricFamily(
        "poplab_dropped_packets", "Inner packets dropped, by reason.", labels=["vnet", "reason"]
    )
    flows = GaugeMetricFamily("poplab_flows", "Live flow entries.", labels=["vnet"])
    limits = GaugeMetricFamily("poplab_flow_limit", "Most flow entries allowed.", labels=["vnet"])
    hits = CounterMetricFamily(
        "poplab_rule_hits", "Flows decided, by rule and action.", labels=["vnet", "rule", "action"]
    )
    for vnet in now.vnets:
        name = vnet.name
        packets.add_metric([name, "in"], vnet.packets_in)
        packets.add_metric([name, "out"], vnet.packets_out)
        octets.add_metric([name, "in"], vnet.bytes_in)
        octets.add_metric([name, "out"], vnet.bytes_out)
        generated.add_metric([name], vnet.packets_generated)
        held.add_metric([name], vnet.packets_held)
        flows.add_metric([name], vnet.flows)
        limits.add_metric([name], vnet.flow_limit)
        for reason, count in {**dict.fromkeys(PACKET_REASONS, 0), **vnet.drops}.items():
            drops.add_metric([name, reason], count)
        for (rule, action), count in vnet.rule_hits.items():
            hits.add_metric([name, rule, action], count)
    yield from (packets, octets, generated, held, drops, flows, limits, hits)


def _tunnel_families(now: Snapshot) -> Iterator[Metric]:
    labels = ["vnet", "tunnel"]
    up = GaugeMetricFamily("poplab_tunnel_up", "1 while the tunnel has a session.", labels=[*labels, "kind"])
    masque = GaugeMetricFamily(
        "poplab_tunnel_http",
        "1 for the HTTP version that a MASQUE tunnel uses now.",
        labels=[*labels, "http"],
    )
    handshakes = CounterMetricFamily("poplab_tunnel_handshakes", "Handshakes completed.", labels=labels)
    initiated = CounterMetricFamily(
        "poplab_tunnel_handshakes_initiated", "Handshakes begun by the PoP.", labels=labels
    )
    age = GaugeMetricFamily(
        "poplab_tunnel_last_handshake_age_seconds",
        "Seconds since the last handshake; absent before the first.",
        labels=labels,
    )
    packets = CounterMetricFamily(
        "poplab_tunnel_packets", "Inner packets; in is from the peer.", labels=[*labels, "direction"]
    )
    octets = CounterMetricFamily(
        "poplab_tunnel_bytes", "Bytes of inner packets; in is from the peer.", labels=[*labels, "direction"]
    )
    for tunnel in now.tunnels:
        who = [tunnel.vnet, tunnel.name]
        up.add_metric([*who, tunnel.kind], int(tunnel.up))
        if tunnel.tunnel == "masque":
            for version in HTTP_VERSIONS:
                masque.add_metric([*who, version], int(tunnel.http == version))
        handshakes.add_metric(who, tunnel.handshakes)
        initiated.add_metric(who, tunnel.handshakes_initiated)
        if tunnel.last_handshake_age is not None:
            age.add_metric(who, tunnel.last_handshake_age)
        packets.add_metric([*who, "in"], tunnel.packets_rx)
        packets.add_metric([*who, "out"], tunnel.packets_tx)
        octets.add_metric([*who, "in"], tunnel.bytes_rx)
        octets.add_metric([*who, "out"], tunnel.bytes_tx)
    yield from (up, masque, handshakes, initiated, age, packets, octets)


def _site_families(now: Snapshot) -> Iterator[Metric]:
    labels = ["vnet", "site", "tunnel"]
    states = GaugeMetricFamily(
        "poplab_replica_state",
        "1 for the state that the replica is in, 0 for others.",
        labels=[*labels, "state"],
    )
    rtt = GaugeMetricFamily(
        "poplab_probe_rtt_seconds",
        "Round trip of the latest probe of a replica that was answered.",
        labels=labels,
    )
    failovers = CounterMetricFamily(
        "poplab_site_failovers",
        "Times that a replica took over from one that was lost.",
        labels=["vnet", "site"],
    )
    for site in now.sites:
        failovers.add_metric([site.vnet, site.name], site.failovers)
        for tunnel, current in site.replicas.items():
            for state in ReplicaState:
                states.add_metric([site.vnet, site.name, tunnel, state], int(state is current))
        for tunnel, seconds in site.rtt.items():
            rtt.add_metric([site.vnet, site.name, tunnel], seconds)
    yield from (states, rtt, failovers)


def _masque_families(now: MasqueSnapshot) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "poplab_masque_connections", "HTTP connections that are open.", labels=["http"]
    )
    handshakes = CounterMetricFamily(
        "poplab_masque_handshakes", "QUIC and TLS handshakes, by result.", labels=["http", "result"]
    )
    sessions = CounterMetricFamily("poplab_masque_sessions", "Sessions accepted.", labels=["http"])
    for version in HTTP_VERSIONS:
        connections.add_metric([version], now.connections.get(version, 0))
        handshakes.add_metric([version, "ok"], now.accepted.get(version, 0))
        handshakes.add_metric([version, "failed"], now.failed.get(version, 0))
        sessions.add_metric([version], now.sessions.get(version, 0))
    refused = CounterMetricFamily(
        "poplab_masque_refused_requests", "Requests refused, by HTTP status.", labels=["status"]
    )
    for status, count in sorted({**dict.fromkeys(REFUSALS, 0), **now.refused}.items()):
        refused.add_metric([str(status)], count)
    switches = CounterMetricFamily(
        "poplab_masque_switches",
        "Tunnels whose packets come over another HTTP version than before.",
        labels=["to"],
    )
    switches.add_metric(["h2"], now.fallbacks)
    switches.add_metric(["h3"], now.returns)
    yield from (connections, handshakes, sessions, refused, switches)
    for name, text, value in (
        ("retries", "Retry packets sent: clients that had to prove their address.", now.retries),
        ("version_negotiations", "Version Negotiation packets sent.", now.version_negotiations),
        ("migrations", "Peers whose address changed under a connection.", now.migrations),
    ):
        yield CounterMetricFamily(f"poplab_masque_{name}", text, value)


def _pop_families(now: Snapshot) -> Iterator[Metric]:
    datagrams = CounterMetricFamily("poplab_datagrams", "Outer UDP datagrams.", labels=["direction"])
    datagrams.add_metric(["in"], now.datagrams_in)
    datagrams.add_metric(["out"], now.datagrams_out)
    drops = CounterMetricFamily(
        "poplab_dropped_datagrams", "Outer datagrams dropped, by reason.", labels=["reason"]
    )
    for reason, count in {**dict.fromkeys(DATAGRAM_REASONS, 0), **now.datagram_drops}.items():
        drops.add_metric([reason], count)
    reloads = CounterMetricFamily(
        "poplab_config_reloads", "Configuration reloads, by result.", labels=["result"]
    )
    reloads.add_metric(["ok"], now.reloads_ok)
    reloads.add_metric(["failed"], now.reloads_failed)
    yield datagrams
    yield drops
    yield reloads
    yield _histogram(
        "poplab_handshake_seconds",
        "Time from the first message of a handshake to a session in use.",
        now.handshake_seconds,
    )
    yield _histogram("poplab_forward_seconds", "Time from read to send of a packet.", now.forward_seconds)
    yield GaugeMetricFamily(
        "poplab_config_generation", "Generation of the configuration in force.", now.generation
    )
    yield GaugeMetricFamily("poplab_start_time_seconds", "Start of the PoP, since the epoch.", now.started_at)


def _histogram(name: str, text: str, of: HistogramSnapshot) -> HistogramMetricFamily:
    bounds = [*(f"{bound:g}" for bound in of.bounds), "+Inf"]
    return HistogramMetricFamily(
        name, text, buckets=list(zip(bounds, accumulate(of.counts), strict=True)), sum_value=of.total
    )


def registry(snapshot: Callable[[], Snapshot]) -> CollectorRegistry:
    """A registry of its own for each relay: many worlds live in one process."""
    own = CollectorRegistry(auto_describe=False)
    own.register(PopCollector(snapshot))
    return own


def exposition(of: CollectorRegistry) -> bytes:
    """The text that ``/metrics`` answers."""
    return generate_latest(of)
