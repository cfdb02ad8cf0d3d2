"""The far end of tunnels, without IO."""

from connectors.proto.choosing_end import ChoosingEnd
from connectors.proto.side import PacketSide, Watch
from connectors.proto.site_router import SiteRouter
from connectors.proto.tunnel_end import EndpointStatistics, TunnelEnd

__all__ = ["ChoosingEnd", "EndpointStatistics", "PacketSide", "SiteRouter", "TunnelEnd", "Watch"]
