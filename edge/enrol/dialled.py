"""What the other end of a tunnel is told about the PoP: where to dial, and what lies behind."""

from __future__ import annotations

from edge.config import EdgeConfig, TunnelConfig
from edge.document import HostPort, Prefix
from edge.errors import Refused
from edge.proto.types import Address


def dialled(given: str, endpoint: str, listen: Address, listener: str) -> HostPort:
    """Where peers reach `listen`: as given, or configured, or there itself; Refused if nobody can dial that."""
    if given or endpoint:
        try:
            return HostPort.parse(given or endpoint)
        except ValueError as error:
            raise Refused(str(error)) from error
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


def reachable(config: EdgeConfig, tunnel: TunnelConfig) -> list[Prefix]:
    """What `tunnel` reaches through the PoP: the pools, and the routes of all others."""
    vnet = config.vnets[tunnel.vnet]
    others = [t for t in config.tunnels.values() if t.vnet == vnet.name and t.name != tunnel.name]
    routes = {route for other in others for route in other.routes}  # replicas have the same
    return [*vnet.pools, *sorted(routes - set(tunnel.routes))]
