"""Interfaces, addresses and routes inside namespaces, by netlink (rtnetlink(7), packet(7), ethtool)."""

from __future__ import annotations

import array
import fcntl
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from errno import ENODEV
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from struct import pack
from typing import NamedTuple

from scenarios.fabric.netns import netlink
from scenarios.fabric.netns.namespace import Namespace
from scenarios.fabric.netns.netlink import Do, How, Netlink, attribute
from scenarios.fabric.netns.veth_wire import VethWire

ETHERNET = "eth0"
LAN = "lan"
"""The bridge of a site."""

OURS_FIRST, LOCAL = 1, 10
"""Priorities of rules: what is not for the kernel, then the kernel's own addresses, which else come first of all."""

# Numbers of rtnetlink(7) that no module names.
_LOOPBACK = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_QDISC, _IFLA_MASTER = 1, 3, 4, 6, 10
_IFLA_TXQLEN, _IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 13, 16, 18, 28
_OPERSTATE_UP = b"\x06"
_NO_QUEUE_YET = b"noop\0"
_IFF_NOARP = 0x80
_ETH_P_ALL = 0x0003
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_BRIDGE_DELAY, _BRIDGE_STP, _BRIDGE_SNOOPING = 1, 5, 23
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH = 1, 4, 5, 6, 9
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_STATIC = 4  # RTPROT_STATIC
_UNIVERSE, _ON_LINK = 0, 253  # scopes
# Types of routes; of rules, a table to look at and, by the same number, nowhere.
_UNICAST, _OWN, _BLACKHOLE = 1, 2, 6
_LOOK, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_IP_PROTO = 1, 3, 6, 22
_FLAG_ON_LINK = 4
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the entry, not what is made of it

_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO
_TRANSPORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

SETTLING, LOOK = 1.0, 0.0002
"""Seconds that the kernel gets for what it does after it has answered, and between two looks; it takes some tens of
microseconds."""

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
_FORWARDING = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    # Milliseconds between two errors for one host, after a few at once: as often as a router of ours says something.
    "ipv4/icmp_ratelimit": 10,
    "ipv6/icmp/ratelimit": 10,
}


class FoundRoute(NamedTuple):
    """An entry of a route table; of one that leads several ways, the first of them."""

    to: str
    interface: str
    via: str | None


class Machine:
    """A namespace that is set up as a machine: loopback up, and a hand to configure it.

    What the kernel does not want is an OSError that names the machine.
    """

    def __init__(self, name: str, *, forwards: bool = False) -> None:
        self.name = name
        self.held = 0
        """Wires whose other end is here, so far."""
        self._unready: list[Callable[[], bool]] = []
        """Cables that are plugged in here and addresses: of each, whether the kernel has still to do something."""
        with ExitStack() as undo:
            self.space = Namespace(name)
            undo.callback(self.space.close)
            self.space.sysctls({**_SYSCTLS, **(_FORWARDING if forwards else {})})
            with self.space.inside():
                self._netlink = Netlink()
            undo.callback(self._netlink.close)
            self._ask(Do.SET_LINK, netlink.link(_LOOPBACK, up=True))
            undo.pop_all()

    def __repr__(self) -> str:
        return f"<Machine {self.name}>"

    def close(self) -> None:
        self._netlink.close()
        self.space.close()

    def _ask(self, what: Do, *parts: bytes, how: How = How.ANY) -> bytes:
        try:
            return self._netlink.request(what, b"".join(parts), how)
        except OSError as error:
            words = what.name.lower().replace("_", " ")
            raise OSError(error.errno, f"{self.name}: {words}: {error.strerror}") from None

    def index(self, interface: str) -> int | None:
        """Of an interface; None if it is not there."""
        try:
            return netlink.index_of(
                self._ask(Do.GET_LINK, netlink.link(), attribute(_IFLA_IFNAME, interface))
            )
        except OSError:
            return None

    def _there(self, interface: str) -> int:
        index = self.index(interface)
        if index is None:
            raise OSError(ENODEV, f"{self.name} has no {interface}")
        return index

    # -- links

    def bridge(self) -> None:
        # Nothing is learnt late and nothing waits: there are no loops in a site, and every card hears every group.
        data = attribute(_BRIDGE_DELAY, 0) + attribute(_BRIDGE_STP, 0) + attribute(_BRIDGE_SNOOPING, bytes(1))
        self._ask(
            Do.ADD_LINK,
            netlink.link(up=True),
            attribute(_IFLA_IFNAME, LAN),
            attribute(_IFLA_LINKINFO, attribute(_INFO_KIND, "bridge") + attribute(_INFO_DATA, data)),
            how=How.CREATE,
        )

    def plug(self, other: Machine, port: str, *, mtu: int = 1500) -> None:
        """A cable from a port of this machine's bridge to the Ethernet interface of `other`."""
        self._ask(
            Do.ADD_LINK,
            netlink.link(up=True),
            attribute(_IFLA_IFNAME, port),
            attribute(_IFLA_MTU, mtu),
            attribute(_IFLA_MASTER, self._there(LAN)),
            _cable_to(other, ETHERNET, mtu),
            how=How.CREATE,
        )
        other.plain(ETHERNET)
        other.up(ETHERNET)
        self._unready += [partial(self._is_rising, port), partial(other._is_rising, ETHERNET)]

    def veth_wire(self, name: str, hub: Machine, *, mtu: int) -> VethWire:
        """An interface without ARP, whose other end is in `hub` and held by us. It is down."""
        hub.held += 1
        theirs = f"wire{hub.held}"
        self._ask(
            Do.ADD_LINK,
            netlink.link(),
            attribute(_IFLA_IFNAME, name),
            attribute(_IFLA_MTU, mtu),
            _cable_to(hub, theirs, mtu),
            how=How.CREATE,
        )
        index = self._there(name)
        # Without that it would ask who has the address; its other end says nothing by itself if it has no IPv6.
        self._ask(Do.SET_LINK, netlink.link(index, flags=_IFF_NOARP))
        self.plain(name)
        hub.space.sysctls({f"ipv6/conf/{theirs}/disable_ipv6": 1})
        hub.up(theirs)
        hub._unready += [partial(hub._is_rising, theirs), partial(self._is_rising, name)]
        answer = self._ask(Do.GET_LINK, netlink.link(index))
        address = netlink.attributes(answer[netlink.LINK_SIZE :])[_IFLA_ADDRESS]
        with hub.space.inside():
            held = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            held.bind((theirs, _ETH_P_ALL))
        return VethWire(name, index, held, address, lambda: self.remove(name))

    def remove(self, interface: str) -> None:
        """Take an interface away, if it is there."""
        index = self.index(interface)
        if index is not None:
            with suppress(OSError):
                self._ask(Do.DELETE_LINK, netlink.link(index))

    def up(self, interface: str, *, queue: int | None = None, mtu: int | None = None) -> None:
        """`queue` is the number of packets that may wait to be sent."""
        parts = [netlink.link(self._there(interface), up=True)]
        if mtu is not None:
            parts.append(attribute(_IFLA_MTU, mtu))
        if queue is not None:
            parts.append(attribute(_IFLA_TXQLEN, queue))
        self._ask(Do.SET_LINK, *parts)

    def settle(self) -> None:
        """Wait until cables that are plugged in here carry, and addresses are taken packets for.

        The kernel gets there a little after it was told, when the interfaces are up; until then it throws packets away.
        """
        deadline = time.monotonic() + SETTLING
        while self._unready and time.monotonic() < deadline:
            if self._unready[-1]():
                time.sleep(LOOK)
            else:
                self._unready.pop()
        self._unready.clear()

    def _is_rising(self, interface: str) -> bool:
        """Whether it is there and does not carry yet."""
        try:
            answer = self._ask(Do.GET_LINK, netlink.link(), attribute(_IFLA_IFNAME, interface))
        except OSError:
            return False
        found = netlink.attributes(answer[netlink.LINK_SIZE :])
        return found.get(_IFLA_OPERSTATE) != _OPERSTATE_UP or found.get(_IFLA_QDISC) == _NO_QUEUE_YET

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
        flags = b""
        if given.version == 6:
            flags = attribute(_IFA_FLAGS, _IFA_F_NODAD)
            self._unready.append(lambda: not self.has(given.packed))  # a task of the kernel sees to it
        self._ask(Do.ADD_ADDRESS, *self._address(interface, text), flags, how=How.CREATE)

    def forget_address(self, interface: str, text: str) -> None:
        if self.index(interface) is not None:
            with suppress(OSError):
                self._ask(Do.DELETE_ADDRESS, *self._address(interface, text))

    def _address(self, interface: str, text: str) -> tuple[bytes, ...]:
        given = ip_interface(text)
        packed = given.ip.packed
        return (
            netlink.address(_family(given.version), given.network.prefixlen, self._there(interface)),
            attribute(_IFA_LOCAL, packed),
            attribute(_IFA_ADDRESS, packed),
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
        # Without a gateway, else no gateway counts as reachable through it.
        scope = _ON_LINK if via is None and ip_network(to).version == 4 else _UNIVERSE
        parts = []
        if via is not None:
            parts.append(attribute(_RTA_GATEWAY, ip_address(via).packed))
        if interface is not None:
            parts.append(attribute(_RTA_OIF, self._there(interface)))
        self._replace_route(to, _UNICAST, metric, *parts, scope=scope, flags=_FLAG_ON_LINK if onlink else 0)

    def nowhere(self, version: int, *, metric: int = 9999) -> None:
        """What no other route takes vanishes, as where nobody answers; without it, people are told."""
        self._replace_route("0.0.0.0/0" if version == 4 else "::/0", _BLACKHOLE, metric)

    def _replace_route(
        self, to: str, kind: int, metric: int | None, *parts: bytes, scope: int = _UNIVERSE, flags: int = 0
    ) -> None:
        network = ip_network(to)
        length = network.prefixlen
        self._ask(
            Do.ADD_ROUTE,
            netlink.route(
                _family(network.version),
                length,
                table=_MAIN_TABLE,
                protocol=_STATIC,
                scope=scope,
                kind=kind,
                flags=flags,
            ),
            *([attribute(_RTA_DST, network.network_address.packed)] if length else []),
            *([] if metric is None else [attribute(_RTA_PRIORITY, metric)]),
            *parts,
            how=How.REPLACE,
        )

    def has(self, address: bytes) -> bool:
        """Whether it is one of its own, on whatever interface."""
        try:
            answer = self._route_for(address)
        except OSError:
            return False
        return netlink.kind_of_route(answer) == _OWN

    def _route_for(self, address: bytes) -> bytes:
        family = _family(4 if len(address) == 4 else 6)
        request = netlink.route(family, 8 * len(address), flags=_FIB_MATCH)
        return self._ask(Do.GET_ROUTE, request, attribute(_RTA_DST, address))

    def route_to(self, destination: str) -> FoundRoute | None:
        """What ``ip route get DESTINATION fibmatch`` says; None if it says that there is no way."""
        target = ip_address(destination).packed
        try:
            answer = self._route_for(target)
        except OSError:  # unreachable, or a route to nowhere
            return None
        found = netlink.attributes(answer[netlink.ROUTE_SIZE :])
        index = int.from_bytes(found.get(_RTA_OIF, b""), sys.byteorder)
        if _RTA_MULTIPATH in found:
            index, first = netlink.first_next_hop(found[_RTA_MULTIPATH])
            found |= first
        to = ip_network((found.get(_RTA_DST, bytes(len(target))), netlink.destination_length(answer)))
        via = found.get(_RTA_GATEWAY)
        name = self._name(index) if index else ""
        return FoundRoute(str(to), name, None if via is None else str(ip_address(via)))

    def _name(self, index: int) -> str:
        answer = self._ask(Do.GET_LINK, netlink.link(index))
        return netlink.attributes(answer[netlink.LINK_SIZE :])[_IFLA_IFNAME].rstrip(b"\0").decode()

    # -- machines whose hosts are ours

    def silence(self, interface: str) -> None:
        """The kernel answers neither pings nor what comes for TCP and UDP on `interface`: a host of ours does.

        It still answers ARP and neighbour solicitations there, and routes what the host sends.
        """
        for family in _FAMILIES:
            for protocol in (*_TRANSPORTS, *((socket.IPPROTO_ICMP,) if family == socket.AF_INET else ())):
                self._ask(
                    Do.ADD_RULE,
                    netlink.route(family, 0, table=_MAIN_TABLE, kind=_BLACKHOLE),
                    attribute(_FRA_PRIORITY, OURS_FIRST),
                    attribute(_FRA_IIFNAME, interface),
                    attribute(_FRA_IP_PROTO, bytes([protocol])),
                    how=How.CREATE,
                )
            look = netlink.route(family, 0, table=_LOCAL_TABLE, kind=_LOOK)
            self._ask(Do.ADD_RULE, look, attribute(_FRA_PRIORITY, LOCAL), how=How.CREATE)
            self._ask(Do.DELETE_RULE, look, attribute(_FRA_PRIORITY, 0))
        self.space.sysctls({"ipv4/icmp_echo_ignore_all": 1, "ipv6/icmp/echo_ignore_all": 1})


def _cable_to(other: Machine, name: str, mtu: int) -> bytes:
    """Of a new veth interface: that its other end is in `other`, and called so."""
    peer = b"".join(
        [
            netlink.link(),
            attribute(_IFLA_IFNAME, name),
            attribute(_IFLA_MTU, mtu),
            attribute(_IFLA_NET_NS_FD, other.space.fd),
        ]
    )
    data = attribute(_INFO_DATA, attribute(_VETH_PEER, peer))
    return attribute(_IFLA_LINKINFO, attribute(_INFO_KIND, "veth") + data)


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6
