"""Sans-IO cores of the connector: packets and time in, packets out."""

from connectors.proto.side import PacketSide
from connectors.proto.site_router import SiteRouter

__all__ = ["PacketSide", "SiteRouter"]
