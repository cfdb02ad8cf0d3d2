"""What the other end of a tunnel is told about the PoP: where to dial, and what lies behind."""

from __future__ import annotations

from ipaddress import ip_address

from edge.config import EdgeConfig, TunnelConfig, TunnelKind
from edge.document import HostPort, Prefix
from edge.errors import Refused


def dialled(config: EdgeConfig, tunnel: TunnelKind, given: str) -> HostPort:
    """Where peers reach the listener of `tunnel`: as given, or configured, or there itself.

    Refused if nobody can dial that, or if `given` is where the other listener is.
    """
    masque = config.masque
    wireguard = tunnel is TunnelKind.WIREGUARD
    if wireguard:
        endpoint, listen, listener = config.endpoint, config.listen, "wireguard"
        other = None if masque is None else masque.listen
    else:
        assert masque is not None, "checked before, like everything in the configuration"
        endpoint, listen, listener = masque.endpoint, masque.listen, "masque"
        other = config.listen
        if not endpoint and config.endpoint:
            endpoint = f"{config.endpoint.rpartition(':')[0]}:{listen[1]}"
    if given or endpoint:
        try:
            named = HostPort.parse(given or endpoint)
        except ValueError as error:
            raise Refused(str(error)) from error
        if given and given != endpoint and other is not None and named[1] == other[1] != listen[1]:
            kinds = ("MASQUE", "WireGuard") if wireguard else ("WireGuard", "MASQUE")
            key = "endpoint" if wireguard else "masque.endpoint"
            raise Refused(
                f"--endpoint {given}: on port {other[1]} the PoP takes {kinds[0]}, and {kinds[1]} on {listen[1]}\n"
                f"    fix: --endpoint {HostPort((named[0], listen[1]))}; or, where a router forwards that port, "
                f"the same as `{key}` in the configuration"
            )
        return named
    host, port = listen[:2]
    if host in ("0.0.0.0", "::"):
        raise Refused(
            f"the PoP listens on {host}, which no peer can dial\n"
            "    fix: --endpoint HOST:PORT, or `endpoint:` in its configuration"
        )
    if not port:
        raise Refused(
            "the PoP listens on any free port, which is another after each start\n"
            f"    fix: a port in `listen.{listener}`, or --endpoint HOST:PORT"
        )
    return HostPort((host, port))


def unreachable(address: HostPort) -> str:
    """What to know about what peers dial, if most cannot; else empty."""
    try:
        loopback = ip_address(address[0]).is_loopback
    except ValueError:
        loopback = address[0] == "localhost"
    if not loopback:
        return ""
    return (
        f"{address} is this machine's loopback, which no other device reaches; for those, a PoP that listens on "
        "0.0.0.0, and --endpoint HOST:PORT with an address that they reach"
    )


def reachable(config: EdgeConfig, tunnel: TunnelConfig) -> list[Prefix]:
    """What `tunnel` reaches through the PoP: the pools, and the routes of all others."""
    vnet = config.vnets[tunnel.vnet]
    others = [t for t in config.tunnels.values() if t.vnet == vnet.name and t.name != tunnel.name]
    routes = {route for other in others for route in other.routes}  # replicas have the same
    return [*vnet.pools, *sorted(routes - set(tunnel.routes))]
