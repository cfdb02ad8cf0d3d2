"""ICMP and ICMPv6: what we originate, refuse and look into. A TCP reset is an answer of the same kind."""

from edge.proto.ip.icmp.errors import (
    Unreachable,
    admin_prohibited,
    may_answer,
    time_exceeded,
    too_big,
    unreachable,
)
from edge.proto.ip.icmp.messages import is_error, is_forbidden
from edge.proto.ip.icmp.ping import (
    Echo,
    build_icmp_echo,
    echo,
    echo_identifier,
    echo_reply,
    quoted_echo_identifier,
)
from edge.proto.ip.icmp.quoted import MINIMUM_MTU, quoted_untrusted, reported_mtu
from edge.proto.ip.tcp import tcp_reset

__all__ = [
    "MINIMUM_MTU",
    "Echo",
    "Unreachable",
    "admin_prohibited",
    "build_icmp_echo",
    "echo",
    "echo_identifier",
    "echo_reply",
    "is_error",
    "is_forbidden",
    "may_answer",
    "quoted_echo_identifier",
    "quoted_untrusted",
    "reported_mtu",
    "tcp_reset",
    "time_exceeded",
    "too_big",
    "unreachable",
]
