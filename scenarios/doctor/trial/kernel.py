"""What the kernel does in a network namespace of our own. Each function returns what it saw, or raises OSError."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from struct import Struct

from scenarios.doctor.trial.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_CREATE,
    Netlink,
    attribute,
    attributes,
    message,
    nested,
)

RTM_NEWLINK, RTM_NEWADDR, RTM_NEWRULE, RTM_GETRULE, RTM_NEWQDISC = 16, 20, 32, 34, 36
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_VRF_TABLE, VETH_INFO_PEER = 3, 18, 1, 2, 1, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02
FRA_PRIORITY, FRA_TABLE, FRA_IP_PROTO, FR_ACT_TO_TBL = 6, 15, 21, 1
TCA_KIND, TCA_OPTIONS, TC_H_ROOT = 1, 2, 0xFFFFFFFF
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFTA_TABLE_NAME = 16, 17, 10, 1
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_UP, IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
TUN = "/dev/net/tun"
LO = 1
"""The index of `lo` in every namespace."""
PRIORITY, TABLE = 100, 100

_link = Struct("=BxHiII")
_address = Struct("=BBBBI")
_rule = Struct("=BBBBBBBBI")
_qdisc = Struct("=BxxxiIII")
_netfilter = Struct(">BBH")
_request = Struct("=16sH22x")


def _make(name: str, kind: str, *data: bytes) -> None:
    information = [attribute(IFLA_INFO_KIND, kind), *([nested(IFLA_INFO_DATA, *data)] if data else [])]
    body = _link.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name) + nested(IFLA_LINKINFO, *information)
    Netlink().change(RTM_NEWLINK, body)


def _lo_up() -> None:
    Netlink().change(RTM_NEWLINK, _link.pack(0, 0, LO, IFF_UP, IFF_UP), 0)


def veth() -> str:
    peer = _link.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, "veth1")
    _make("veth0", "veth", attribute(VETH_INFO_PEER, peer))
    return "a pair was made"


def bridge() -> str:
    _make("bridge0", "bridge")
    return "one was made"


def vrf() -> str:
    _make("vrf0", "vrf", attribute(IFLA_VRF_TABLE, TABLE))
    return "one was made"


def _tun(name: str, flags: int) -> int:
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, _request.pack(name.encode(), IFF_TUN | IFF_NO_PI | flags))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def tun() -> str:
    os.close(_tun("tun0", 0))
    return f"a device was made with {TUN}"


def tun_offload() -> str:
    descriptor = _tun("tun1", IFF_VNET_HDR)
    tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
    try:
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, tcp)
        try:
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6)
        except OSError:
            return "limited: TCP, and not UDP (Linux 6.2)"
    finally:
        os.close(descriptor)
    return "TCP and UDP"


def policy_routing() -> str:
    """Kernels before 4.17 take a selector that they do not know, and leave it out."""
    fixed = _rule.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
    selector = attribute(FRA_IP_PROTO, bytes([socket.IPPROTO_UDP]))
    netlink = Netlink()
    body = fixed + attribute(FRA_PRIORITY, PRIORITY) + attribute(FRA_TABLE, TABLE) + selector
    netlink.change(RTM_NEWRULE, body)
    for found in netlink.dump(RTM_GETRULE, fixed):
        if FRA_IP_PROTO in attributes(found, _rule.size):
            return "a rule for one protocol was made"
    return "limited: rules, and none for one protocol (Linux 4.17)"


def raw_sockets() -> str:
    for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
        try:
            socket.socket(family, socket.SOCK_RAW, protocol).close()
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6:
                return "limited: IPv4 only"
            raise
    return "IPv4 and IPv6"


def packet_sockets() -> str:
    every = socket.htons(3)  # ETH_P_ALL
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every) as sock:
        sock.bind(("lo", 3))
    return "bound to lo"


def nf_tables() -> str:
    fixed = _netfilter.pack(socket.AF_INET, 0, 0)
    batch = _netfilter.pack(socket.AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
    table = fixed + attribute(NFTA_TABLE_NAME, "t")
    Netlink(NETLINK_NETFILTER).send(
        message(NFNL_MSG_BATCH_BEGIN, 0, batch)
        + message(NFNL_SUBSYS_NFTABLES << 8, NLM_F_CREATE | NLM_F_ACK, table)
        + message(NFNL_MSG_BATCH_END, 0, batch)
    )
    return "a table was made"


def netem() -> str:
    _lo_up()
    options = Struct("=IIIIII").pack(0, 1000, 0, 0, 0, 0)
    body = _qdisc.pack(0, LO, 0, TC_H_ROOT, 0)
    Netlink().change(RTM_NEWQDISC, body + attribute(TCA_KIND, "netem") + attribute(TCA_OPTIONS, options))
    return "one was put on lo"


def ipv6() -> str:
    _lo_up()
    host = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    fixed = _address.pack(socket.AF_INET6, 64, IFA_F_NODAD, 0, LO)
    Netlink().change(RTM_NEWADDR, fixed + attribute(IFA_LOCAL, host) + attribute(IFA_ADDRESS, host))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("2001:db8::1", 0))
    return "an address on lo was bound"
