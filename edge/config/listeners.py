"""Where a PoP listens, and what its peers dial."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config.finding import Finding
from edge.config.types import EdgeConfig, host_of
from edge.document import address_bytes, address_text
from edge.proto.types import Address


def check_listeners(config: EdgeConfig) -> Iterator[Finding]:
    for key, address in _listeners(config).items():
        if address_bytes(address[0]) is None:
            yield Finding(
                ("listen", key), f"{address[0]!r} is not an IP address", "listen on one such as 127.0.0.1"
            )
    yield from _clashes(config)
    yield from _families(config)
    for path, endpoint in ((("endpoint",), config.endpoint),) + (
        ((("masque", "endpoint"), config.masque.endpoint),) if config.masque else ()
    ):
        if endpoint.endswith(":0"):
            yield Finding(path, "no peer can dial port 0", "the port that peers reach the PoP on")
    yield from _inside_itself(config)


def _listeners(config: EdgeConfig) -> dict[str, Address]:
    found = {"wireguard": config.listen}
    if config.masque is not None:
        found["masque"] = config.masque.listen
    if config.metrics is not None:
        found["metrics"] = config.metrics
    return found


def _clashes(config: EdgeConfig) -> Iterator[Finding]:
    """MASQUE needs its port twice: UDP for HTTP/3, TCP for HTTP/2."""
    masque = config.masque
    if masque is None:
        return
    found = [("wireguard", config.listen, "UDP")]
    if masque.http2 and config.metrics is not None:
        found.append(("metrics", config.metrics, "TCP"))
    for other, address, protocol in found:
        if _same(masque.listen, address):
            yield Finding(
                ("listen", "masque"),
                f"{protocol} port {address[1]} is that of `listen.{other}`, too",
                "give one of them another port"
                + (", or `masque: {http2: false}`" if protocol == "TCP" else ""),
                ("listen", other),
            )


def _same(one: Address, other: Address) -> bool:
    """Whether two sockets would claim one port; with port 0 each gets its own."""
    (host, port), (other_host, other_port) = one[:2], other[:2]
    first, second = address_bytes(host), address_bytes(other_host)
    if first is None or second is None or port != other_port or not port:
        return False
    if len(first) == len(second):
        return first == second or not any(first) or not any(second)
    longer = first if len(first) == 16 else second
    return not any(longer)  # on `::` Linux takes IPv4 as well


def _families(config: EdgeConfig) -> Iterator[Finding]:
    """One socket serves all peers: what it cannot send to, and who cannot reach it."""
    yield from _dialled("wireguard", config.listen, ("endpoint",), config.endpoint)
    if config.masque is not None:
        yield from _dialled("masque", config.masque.listen, ("masque", "endpoint"), config.masque.endpoint)
    own = address_bytes(config.listen[0])
    if own is None:
        return
    for tunnel in config.tunnels.values():
        peer = address_bytes(tunnel.endpoint[0]) if tunnel.endpoint else None
        if tunnel.endpoint and peer is not None and len(peer) != len(own):
            host, port = tunnel.endpoint
            yield Finding(
                ("tunnels", tunnel.name, "endpoint"),
                f"{host} is of another family than `listen.wireguard`, {_family(config.listen[0])}: "
                "it cannot be sent to",
                f'write "[::ffff:{host}]:{port}"'
                if _is_dual(own)
                else "give the peer's other address, or leave it out",
            )


def _dialled(key: str, listen: Address, path: tuple[str, ...], endpoint: str) -> Iterator[Finding]:
    own, dialled = address_bytes(listen[0]), address_bytes(host_of(endpoint))
    if own is None or dialled is None or len(dialled) == len(own) or _is_dual(own):
        return
    yield Finding(
        path,
        f"{endpoint} is of another family than `listen.{key}`, {_family(listen[0])}: no peer would arrive",
        "give both of one family",
    )


def _is_dual(own: bytes) -> bool:
    return len(own) == 16 and not any(own)  # on `::` Linux takes IPv4 as well, as ::ffff:a.b.c.d


def _family(host: str) -> str:
    return f"IPv{6 if ':' in host else 4} ({host})"


def _inside_itself(config: EdgeConfig) -> Iterator[Finding]:
    """A route that holds what the peers dial."""
    outers: dict[bytes, str] = {}
    for key, listen, setting, endpoint in _outers(config):
        text, source = (host_of(endpoint), setting) if endpoint else (listen[0], f"listen.{key}")
        if (outer := address_bytes(text)) is not None and any(outer):
            outers.setdefault(outer, source)
    for tunnel in config.tunnels.values():
        for index, route in enumerate(tunnel.routes):
            for outer, source in outers.items():
                if route.length and route.covers(outer):
                    yield Finding(
                        ("tunnels", tunnel.name, "routes", index),
                        f"{route} holds the PoP's outer address {address_text(outer)}: "
                        "the tunnel would run inside itself",
                        f"route a longer prefix without it, or change `{source}`",
                    )


def _outers(config: EdgeConfig) -> Iterator[tuple[str, Address, str, str]]:
    yield "wireguard", config.listen, "endpoint", config.endpoint
    if (masque := config.masque) is not None:
        mine = bool(masque.endpoint)
        yield (
            "masque",
            masque.listen,
            "masque.endpoint" if mine else "endpoint",
            masque.endpoint or config.endpoint,
        )
