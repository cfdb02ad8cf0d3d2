"""IPv4, IPv6, UDP, TCP and ICMP: views of hostile packets, and packets of our own."""

from edge.proto.ip.addresses import check_addresses, is_ordinary
from edge.proto.ip.build import build_packet
from edge.proto.ip.checksum import checksum, decrement_ttl, transport_checksum, update_checksum
from edge.proto.ip.fragmentation import fragment_ipv4
from edge.proto.ip.fragments import DeadFragment, FragmentDecision, FragmentKind, FragmentTable
from edge.proto.ip.header import Header, packet_length, parse_untrusted
from edge.proto.ip.icmp import (
    MINIMUM_MTU,
    Echo,
    Unreachable,
    admin_prohibited,
    build_icmp_echo,
    echo,
    echo_identifier,
    echo_reply,
    is_error,
    is_forbidden,
    may_answer,
    quoted_echo_identifier,
    quoted_untrusted,
    reported_mtu,
    time_exceeded,
    too_big,
    unreachable,
)
from edge.proto.ip.ratelimit import RateLimit
from edge.proto.ip.tcp import Segment, build_tcp, tcp_reset, tcp_segment
from edge.proto.ip.transport import ICMP, ICMPV6, TCP, UDP
from edge.proto.ip.udp import build_udp, udp_builder, udp_payload

__all__ = [
    "ICMP",
    "ICMPV6",
    "MINIMUM_MTU",
    "TCP",
    "UDP",
    "DeadFragment",
    "Echo",
    "FragmentDecision",
    "FragmentKind",
    "FragmentTable",
    "Header",
    "RateLimit",
    "Segment",
    "Unreachable",
    "admin_prohibited",
    "build_icmp_echo",
    "build_packet",
    "build_tcp",
    "build_udp",
    "check_addresses",
    "checksum",
    "decrement_ttl",
    "echo",
    "echo_identifier",
    "echo_reply",
    "fragment_ipv4",
    "is_error",
    "is_forbidden",
    "is_ordinary",
    "may_answer",
    "packet_length",
    "parse_untrusted",
    "quoted_echo_identifier",
    "quoted_untrusted",
    "reported_mtu",
    "tcp_reset",
    "tcp_segment",
    "time_exceeded",
    "too_big",
    "transport_checksum",
    "udp_builder",
    "udp_payload",
    "unreachable",
    "update_checksum",
]
