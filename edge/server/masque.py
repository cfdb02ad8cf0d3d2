"""MASQUE at the PoP: HTTP/3 and HTTP/2 on one port, and the sessions on them. No IO of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edge.config import MasqueConfig
from edge.io.http2 import Http2Server, Http2Settings
from edge.io.quic import QuicServer, QuicSettings
from edge.metrics import MasqueSnapshot
from edge.proto.masque.server import MasqueServer
from edge.proto.masque.template import Template
from edge.proto.masque.tunnel import MasqueTunnel
from edge.proto.types import NEVER, Address, DropReason, StreamEvent, StreamOutput
