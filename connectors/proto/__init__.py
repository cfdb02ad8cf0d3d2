"""Sans-IO cores of the far ends: packets, datagrams and time in, packets and datagrams out."""

from connectors.proto.side import PacketSide
from connectors.proto.site_router import SiteRouter
from connectors.proto.tunnel_end import EndpointStatistics, TunnelEnd

__all__ = ["EndpointStatistics", "PacketSide", "SiteRouter", "TunnelEnd"]
