"""HTTP/3 over QUIC, sans-IO in shape: bytes and time in, events of carriers and bytes out.

It is not in ``proto/`` because a QUIC library brings its own randomness.
"""

from edge.io.quic.client import QuicClient
from edge.io.quic.endpoint import Ending, QuicCounters
from edge.io.quic.server import QuicServer
from edge.io.quic.settings import ClientSettings, ServerSettings

__all__ = ["ClientSettings", "Ending", "QuicClient", "QuicCounters", "QuicServer", "ServerSettings"]
