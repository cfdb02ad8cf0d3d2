"""Every metric that a run keeps: what thresholds and reports can ask for."""

from __future__ import annotations

from scenarios.checks import Declared, Kind, Metrics, Ratio, Seconds

CALL = ("call", "load", "actor", "listener")
STEP = ("step", "load", "actor")

CATALOGUE: tuple[Declared, ...] = (
    Declared("sip.calls", Kind.COUNTER, tags=CALL),
    Declared("sip.failed", Kind.RATE, tags=CALL),
    Declared("sip.setup_time", Kind.TREND, Seconds, tags=CALL),
    Declared("sip.registered", Kind.RATE, tags=STEP),
    Declared("rtp.mos", Kind.TREND, tags=CALL),
    Declared("rtp.r", Kind.TREND, tags=CALL),
    Declared("rtp.loss", Kind.TREND, Ratio, tags=CALL),
    Declared("rtp.jitter", Kind.TREND, Seconds, tags=CALL),
    Declared("rtp.gap_max", Kind.TREND, Seconds, tags=CALL),
    Declared("udp.rtt", Kind.TREND, Seconds, tags=STEP),
    Declared("udp.lost", Kind.COUNTER, tags=STEP),
    Declared("ping.rtt", Kind.TREND, Seconds, tags=STEP),
    Declared("ping.lost", Kind.COUNTER, tags=STEP),
    Declared("http.duration", Kind.TREND, Seconds, tags=STEP),
    Declared("http.failed", Kind.RATE, tags=STEP),
    Declared("webhook.delivery_time", Kind.TREND, Seconds, tags=STEP),
    Declared("webhook.failed", Kind.RATE, tags=STEP),
    Declared("dns.duration", Kind.TREND, Seconds, tags=STEP),
    Declared("dns.failed", Kind.RATE, tags=STEP),
    Declared("traffic.delay", Kind.TREND, Seconds, tags=STEP),
    Declared("traffic.lost", Kind.TREND, Ratio, tags=STEP),
    Declared("directory.refused", Kind.RATE, tags=STEP),
    Declared("directory.push_time", Kind.TREND, Seconds, tags=STEP),
    Declared("directory.missed", Kind.RATE, tags=STEP),
    Declared("exec.duration", Kind.TREND, Seconds, tags=STEP),
    Declared("exec.failed", Kind.RATE, tags=STEP),
    Declared("load.started", Kind.COUNTER, tags=("load",)),
    Declared("load.skipped", Kind.COUNTER, tags=("load",)),
    Declared("load.running", Kind.GAUGE, tags=("load",)),
    Declared("steps.failed", Kind.GAUGE, tags=()),
    Declared("steps.duration", Kind.TREND, Seconds, tags=("step",)),
    Declared("edge.packets", Kind.GAUGE, tags=("vnet",)),
    Declared("edge.packets_per_second", Kind.TREND, tags=()),
    Declared("edge.dropped", Kind.GAUGE, tags=("vnet", "reason")),
    Declared("edge.flows", Kind.GAUGE, tags=("vnet",)),
    Declared("edge.tunnels_up", Kind.GAUGE, tags=()),
    Declared("edge.failovers", Kind.GAUGE, tags=()),
    Declared("masque.fallbacks", Kind.GAUGE, tags=()),
    Declared("masque.returns", Kind.GAUGE, tags=()),
    Declared("masque.sessions", Kind.GAUGE, tags=("http",)),
    Declared("edge.forward_latency", Kind.TREND, Seconds, tags=()),
    Declared("edge.handshake_time", Kind.TREND, Seconds, tags=()),
)


def metrics() -> Metrics:
    """An empty container that knows all of them."""
    return Metrics(CATALOGUE)
