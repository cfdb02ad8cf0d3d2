"""Interfaces, addresses and routes inside namespaces, by netlink (rtnetlink(7), packet(7), ethtool)."""

from __future__ import annotations

import array
import fcntl
import socket
from contextlib import suppress
from ipaddress import ip_interface, ip_network
from struct import pack
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from scenarios.fabric.netns.namespace import Namespace
from scenarios.fabric.netns.veth_wire import VethWire

ETHERNET = "eth0"
LAN = "lan"
"""The bridge of a site."""

OURS_FIRST, LOCAL = 1, 10
"""Priorities of rules: what is not for the kernel, then the kernel's own addresses, which else come first of all."""

_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_IFA_F_NODAD = 0x02
_IFF_NOARP = 0x80
_ETH_P_ALL = 0x0003
_ON_LINK = 253  # RT_SCOPE_LINK
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the entry, not what is made of it

_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO
_TRANSPORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_SYSCTLS = {
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,  # addresses work at once: there is nobody else who could have them
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/autoconf": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv4/conf/all/rp_filter": 0,  # replies that take another way are what one wants to see
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,  # they would mend a wrong route table while it is looked at
    "ipv4/conf/default/send_redirects": 0,
}
_FORWARDING = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


class FoundRoute(NamedTuple):
    """An entry of a route table."""

    to: str
    interface: str
    via: str | None


class Machine:
    """A namespace that is set up as a machine: loopback up, and a hand to configure it."""

    def __init__(self, name: str, *, forwards: bool = False) -> None:
        self.space = Namespace(name)
        self.name = name
        self.held = 0
        """Wires whose other end is here, so far."""
        for key, value in {**_SYSCTLS, **(_FORWARDING if forwards else {})}.items():
            self.space.sysctl(key, value)
        with self.space.inside():
            self.netlink: Any = IPRoute()
        self.netlink.link("set", index=1, state="up")

    def __repr__(self) -> str:
        return f"<Machine {self.name}>"

    def close(self) -> None:
        self.netlink.close()
        self.space.close()

    def index(self, interface: str) -> int | None:
        """Of an interface; None if it is not there."""
        found = self.netlink.link_lookup(ifname=interface)
        return found[0] if found else None

    def _there(self, interface: str) -> int:
        index = self.index(interface)
        assert index is not None, f"{self.name} has no {interface}"
        return index

    # -- links

    def bridge(self) -> None:
        self.netlink.link("add", ifname=LAN, kind="bridge")
        # Nothing is learnt late and nothing waits: there are no loops in a site.
        self.netlink.link("set", index=self._there(LAN), state="up", br_forward_delay=0, br_stp_state=0)

    def plug(self, other: Machine, port: str, *, mtu: int = 1500) -> None:
        """A cable from a port of this machine's bridge to the Ethernet interface of `other`."""
        self.netlink.link(
            "add",
            ifname=port,
            kind="veth",
            mtu=mtu,
            master=self._there(LAN),
            state="up",
            peer={"ifname": ETHERNET, "net_ns_fd": other.space.fd, "IFLA_MTU": mtu},
        )
        other.plain(ETHERNET)
        other.up(ETHERNET)

    def veth_wire(self, name: str, hub: Machine, *, mtu: int) -> VethWire:
        """An interface without ARP, whose other end is in `hub` and held by us. It is down."""
        hub.held += 1
        theirs = f"wire{hub.held}"
        self.netlink.link(
            "add",
            ifname=name,
            kind="veth",
            mtu=mtu,
            peer={"ifname": theirs, "net_ns_fd": hub.space.fd, "IFLA_MTU": mtu},
        )
        index = self._there(name)
        # Without IFF_NOARP it would ask who has the address; without a link-local one it says nothing by itself.
        self.netlink.link("set", index=index, flags=_IFF_NOARP, change=_IFF_NOARP)
        self.plain(name)
        hub.space.sysctl(f"ipv6/conf/{theirs}/disable_ipv6", 1)
        hub.up(theirs)
        address = self.netlink.get_links(index)[0].get_attr("IFLA_ADDRESS")
        with hub.space.inside():
            held = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            held.bind((theirs, _ETH_P_ALL))
        return VethWire(name, index, held, bytes.fromhex(address.replace(":", "")), lambda: self.remove(name))

    def remove(self, interface: str) -> None:
        """Take an interface away, if it is there."""
        index = self.index(interface)
        if index is not None:
            with suppress(NetlinkError):
                self.netlink.link("del", index=index)

    def up(self, interface: str, *, queue: int | None = None) -> None:
        """`queue` is the number of packets that may wait to be sent."""
        words = {} if queue is None else {"txqlen": queue}
        self.netlink.link("set", index=self._there(interface), state="up", **words)

    def plain(self, interface: str) -> None:
        """No offloads: what is seen on it is what a wire would carry, checksums and all."""
        with self.space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for command in _OFFLOADS:
                value = array.array("B", pack("II", command, 0))
                request = pack("16sP16x", interface.encode(), value.buffer_info()[0])
                with suppress(OSError):  # a driver without it has none to turn off
                    fcntl.ioctl(any_socket, _SIOCETHTOOL, request)

    # -- addresses

    def address(self, interface: str, text: str) -> None:
        """Add an address with its prefix length, such as 10.0.50.1/24."""
        given = ip_interface(text)
        flags = _IFA_F_NODAD if given.version == 6 else 0
        self.netlink.addr(
            "add",
            index=self._there(interface),
            address=str(given.ip),
            prefixlen=given.network.prefixlen,
            family=_family(given.version),
            **({"flags": flags} if flags else {}),
        )

    def forget_address(self, interface: str, text: str) -> None:
        given = ip_interface(text)
        index = self.index(interface)
        if index is not None:
            with suppress(NetlinkError):
                self.netlink.addr(
                    "delete", index=index, address=str(given.ip), prefixlen=given.network.prefixlen
                )

    # -- routes

    def route(
        self,
        to: str,
        *,
        via: str | None = None,
        interface: str | None = None,
        onlink: bool = False,
        metric: int | None = None,
    ) -> None:
        """``ip route replace TO [via VIA] [dev INTERFACE]``."""
        network = ip_network(to)
        words: dict[str, Any] = {"dst": to, "family": _family(network.version)}
        if via is not None:
            words["gateway"] = via
        elif network.version == 4:
            words["scope"] = _ON_LINK  # else no gateway counts as reachable through it
        if interface is not None:
            words["oif"] = self._there(interface)
        if onlink:
            words["flags"] = ["onlink"]
        if metric is not None:
            words["priority"] = metric
        self.netlink.route("replace", **words)

    def nowhere(self, version: int, *, metric: int = 9999) -> None:
        """What no other route takes vanishes, as where nobody answers; without it, people are told."""
        to = "0.0.0.0/0" if version == 4 else "::/0"
        self.netlink.route("replace", dst=to, family=_family(version), type="blackhole", priority=metric)

    def route_to(self, destination: str) -> FoundRoute | None:
        """What ``ip route get DESTINATION fibmatch`` says; None if it says that there is no way."""
        family = _family(ip_network(destination).version)
        try:
            found = self.netlink.route("get", dst=destination, family=family, flags=_FIB_MATCH)[0]
        except NetlinkError:  # unreachable, or a route to nowhere
            return None
        out = found.get_attr("RTA_OIF")
        name = self.netlink.get_links(out)[0].get_attr("IFLA_IFNAME")
        everything = "0.0.0.0" if family == socket.AF_INET else "::"
        to = f"{found.get_attr('RTA_DST') or everything}/{found['dst_len']}"
        return FoundRoute(to, name, found.get_attr("RTA_GATEWAY"))

    # -- machines whose hosts are ours

    def silence(self, interface: str) -> None:
        """The kernel answers neither pings nor what comes for TCP and UDP on `interface`: a host of ours does.

        It still answers ARP and neighbour solicitations there, and routes what the host sends.
        """
        for family in _FAMILIES:
            for protocol in (*_TRANSPORTS, *((socket.IPPROTO_ICMP,) if family == socket.AF_INET else ())):
                with suppress(NetlinkError):
                    self.netlink.rule(
                        "add",
                        priority=OURS_FIRST,
                        table=_MAIN_TABLE,
                        action="blackhole",
                        iifname=interface,
                        family=family,
                        ip_proto=protocol,
                    )
            self.netlink.rule("add", priority=LOCAL, table=_LOCAL_TABLE, family=family)
            self.netlink.rule("del", priority=0, table=_LOCAL_TABLE, family=family)
        self.space.sysctl("ipv4/icmp_echo_ignore_all", 1)
        self.space.sysctl("ipv6/icmp/echo_ignore_all", 1)


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6
