"""The interface of a tunnel, set up and taken back by netlink, in the network namespace of whoever opened the handle.

Everything is marked, so that what a killed process left is found by the next: routes and rules have our protocol
number, and the number of a table is held by an alternative name of the interface, which vanishes with it. Names are
unique in a namespace, so two processes never hold the same number. Routes vanish with the interface; rules do not.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.proto.interface_plan import (
    POP_STEPS,
    STEPS,
    HostAddress,
    InterfacePlan,
    Lookup,
    Neighbour,
    Rule,
)
from connectors.proto.split_tunnel import Network
from edge.errors import FabricUnavailable, PoplabError, Refused

if TYPE_CHECKING:
    from pyroute2 import IPRoute

PROTOCOL = 112
"""Who made a route or rule: a number that no routing daemon uses (include/uapi/linux/rtnetlink.h)."""
MAIN_TABLE = 254
FIRST_TABLE = 7_000_000
FIRST_PRIORITY = 7000  # in front of the main table's 32766, behind the local table's 0
SLOTS = 256  # tables that may be in use at once
SHOWN = 10  # problems in one message
DUMPS = 10  # attempts to read a table that changes meanwhile
SLOT_NAME = "poplab-table-"

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_TO_TABLE, _UNREACHABLE = 1, 7  # FR_ACT_ of include/uapi/linux/fib_rules.h
_NO_LINK_LOCAL = 1  # IN6_ADDR_GEN_MODE_NONE: a tunnel has no neighbours to talk to


@contextmanager
def netlink() -> Iterator[IPRoute]:
    """A handle for the network namespace of the calling thread."""
    try:
        from pyroute2 import IPRoute  # takes a tenth of a second to import
    except ImportError as error:
        raise FabricUnavailable(
            "routes are set by pyroute2, which is not installed\n    fix: pip install pyroute2"
        ) from error
    with IPRoute() as handle:
        yield handle


def has_ipv6() -> bool:
    """Whether a new interface gets IPv6 in the network namespace of the calling thread."""
    try:
        setting = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").read_text()
    except OSError:
        return False
    return setting.strip() == "0"


def neighbours(handle: IPRoute, *, beside: int = 0) -> list[Neighbour]:
    """The addresses of all interfaces but the one with index `beside`."""
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in _dump(handle.get_links)}
    found = []
    for entry in _dump(handle.get_addr):
        if entry["index"] != beside:
            text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
            address = ip_interface(f"{text}/{entry['prefixlen']}")
            if not address.ip.is_link_local:
                found.append(Neighbour(str(names.get(entry["index"], "?")), address))
    return found


def main_table(handle: IPRoute, *, beside: int = 0) -> list[Network]:
    """Prefixes that the main table has a route for, but through the interface with index `beside`."""
    return [
        _prefix(route)
        for route in _routes_of(handle, MAIN_TABLE)
        if route.get_attr("RTA_OIF") != beside and route["type"] == 1
    ]


def sweep(handle: IPRoute) -> int:
    """Remove the rules of processes that are no more; returns how many there were."""
    live = set(_slots(handle))
    stale = [rule for rule in _our_rules(handle) if _slot_of(rule) not in live]
    for rule in stale:
        _delete_rule(handle, rule)
    return len(stale)


class Interface:
    """The interface with `index`, which the caller has opened and will close. FabricUnavailable without privilege."""

    def __init__(self, handle: IPRoute, index: int, name: str) -> None:
        self._handle = handle
        self.index = index
        self._name = name
        self._slot: int | None = None
        self._is_set_up = False
        self._routes: dict[tuple[int, Network], None] = {}  # with their tables, as they are in the kernel
        self._rules: list[Rule] = []

    @property
    def table(self) -> int | None:
        """The table of its own, if it has one."""
        return None if self._slot is None else FIRST_TABLE + self._slot

    def apply(self, plan: InterfacePlan) -> None:
        """Make it so: all of it, or what differs from the plan that was applied last.

        Refused if the kernel did not take a route; the others are there then, and that one is tried again next time.
        """
        if not self._is_set_up:
            self._set_up(plan)
            self._is_set_up = True
        if plan.own and self._slot is None:
            self._slot = self._take_slot()
        wanted = {(MAIN_TABLE, route): None for route in plan.main}
        if self.table is not None:
            wanted |= {(self.table, route): None for route in plan.own}
        # What is new comes before what is old goes: meanwhile nothing leaves beside the tunnel that never should.
        problems = []
        for table, route in [each for each in wanted if each not in self._routes]:
            try:
                self._route("add", route, table, plan.source(route.version))
            except Refused as error:
                problems.append(str(error))
            else:
                self._routes[table, route] = None
        for rule in [each for each in plan.rules if each not in self._rules]:
            self._rule("add", rule)
            self._rules.append(rule)
        for rule in [each for each in reversed(self._rules) if each not in plan.rules]:
            with suppress(Refused):  # gone already
                self._rule("del", rule)
            self._rules.remove(rule)
        for table, route in [each for each in self._routes if each not in wanted]:
            with suppress(Refused):  # gone already, as when somebody has set the interface down
                self._route("del", route, table, None)
            del self._routes[table, route]
        if problems:
            more = f"\nand {len(problems) - SHOWN} others" if len(problems) > SHOWN else ""
            raise Refused("\n".join(problems[:SHOWN]) + more)

    def remove(self) -> None:
        """Take back what does not vanish with the interface. Never raises: the rest is done in any case."""
        with suppress(PoplabError, OSError):
            self._remove_rules()

    def _set_up(self, plan: InterfacePlan) -> None:
        handle, index = self._handle, self.index
        with suppress(Refused):  # a kernel without IPv6
            family = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _NO_LINK_LOCAL]]}]]}
            _ask(handle.link, "set", index=index, IFLA_AF_SPEC=family)
        _ask(handle.link, "set", index=index, mtu=plan.mtu)
        for address in plan.addresses:
            _ask(handle.addr, "add", index=index, address=str(address), prefixlen=address.max_prefixlen)
        _ask(handle.link, "set", index=index, state="up")

    def _route(self, verb: str, route: Network, table: int, source: HostAddress | None) -> None:
        more = {} if source is None else {"prefsrc": str(source)}
        _ask(
            self._handle.route,
            verb,
            family=_FAMILY[route.version],
            dst=str(route),
            oif=self.index,
            table=table,
            proto=PROTOCOL,
            **more,
        )

    def _take_slot(self) -> int:
        used = set(_slots(self._handle))
        for slot in range(SLOTS):
            if slot in used:
                continue
            try:
                _ask(self._handle.link, "property_add", index=self.index, altname=f"{SLOT_NAME}{slot}")
            except Refused:  # another process was faster
                continue
            for rule in _our_rules(self._handle):  # of a process that was killed
                if _slot_of(rule) == slot:
                    _delete_rule(self._handle, rule)
            return slot
        raise Refused(
            f"{self._name}: {SLOTS} tunnels have tables of their own already\n    fix: stop some of them"
        )

    def _rule(self, verb: str, rule: Rule) -> None:
        assert self._slot is not None and self.table is not None
        more: dict[str, Any] = {}
        if rule.to is not None:
            more |= {"dst": str(rule.to), "dst_len": rule.to.max_prefixlen}
        if rule.ignore_length is not None:
            more["FRA_SUPPRESS_PREFIXLEN"] = rule.ignore_length
        _ask(
            self._handle.rule,
            verb,
            family=_FAMILY[rule.version],
            priority=_priority(self._slot, rule.step),
            action=_UNREACHABLE if rule.lookup is Lookup.NOWHERE else _TO_TABLE,
            table={Lookup.MAIN: MAIN_TABLE, Lookup.OWN: self.table, Lookup.NOWHERE: 0}[rule.lookup],
            protocol=PROTOCOL,
            **more,
        )

    def _remove_rules(self) -> None:
        """The last first: while some are gone, nothing goes where it would not have gone before."""
        self._rules = []
        if self._slot is None:
            return
        mine = [rule for rule in _our_rules(self._handle) if _slot_of(rule) == self._slot]
        for rule in sorted(mine, key=lambda r: -int(r.get_attr("FRA_PRIORITY"))):
            _delete_rule(self._handle, rule)


def _slots(handle: IPRoute) -> Iterator[int]:
    """Numbers held by interfaces that are there."""
    for link in _dump(handle.get_links):
        names = link.get_attr("IFLA_PROP_LIST")
        for name in names.get_attrs("IFLA_ALT_IFNAME") if names else ():
            tail = name.removeprefix(SLOT_NAME)
            if tail != name and tail.isdigit():
                yield int(tail)


def _our_rules(handle: IPRoute) -> list[Any]:
    """Ours, of both families."""
    return [
        rule
        for family in _FAMILY.values()
        for rule in _dump(handle.get_rules, family=family)
        if rule.get_attr("FRA_PROTOCOL") == PROTOCOL and _slot_of(rule) is not None
    ]


def _priority(slot: int, step: int) -> int:
    """The rules for the PoPs of all tunnels come first: no tunnel swallows another one's packets."""
    if step < POP_STEPS:
        return FIRST_PRIORITY + POP_STEPS * slot + step
    return FIRST_PRIORITY + POP_STEPS * SLOTS + (STEPS - POP_STEPS) * slot + step - POP_STEPS


def _slot_of(rule: Any) -> int | None:
    number = (rule.get_attr("FRA_PRIORITY") or 0) - FIRST_PRIORITY
    if number < POP_STEPS * SLOTS:
        return number // POP_STEPS if number >= 0 else None
    slot = (number - POP_STEPS * SLOTS) // (STEPS - POP_STEPS)
    return slot if slot < SLOTS else None


def _delete_rule(handle: IPRoute, rule: Any) -> None:
    more = {
        name: value
        for name in ("FRA_DST", "FRA_SUPPRESS_PREFIXLEN")
        if (value := rule.get_attr(name)) not in (None, 0xFFFFFFFF)
    }
    with suppress(Refused):  # gone already
        _ask(
            handle.rule,
            "del",
            family=rule["family"],
            priority=rule.get_attr("FRA_PRIORITY"),
            action=rule["action"],
            table=rule.get_attr("FRA_TABLE"),
            dst_len=rule["dst_len"],
            **more,
        )


def _routes_of(handle: IPRoute, table: int) -> Iterator[Any]:
    for family in _FAMILY.values():
        for route in _dump(handle.get_routes, family=family, table=table):
            if route.get_attr("RTA_TABLE") == table:
                yield route


def _prefix(route: Any) -> Network:
    any_address = "0.0.0.0" if route["family"] == socket.AF_INET else "::"
    return ip_network(f"{route.get_attr('RTA_DST') or any_address}/{route['dst_len']}")


def _dump(get: Callable[..., Iterable[Any]], **arguments: Any) -> list[Any]:
    """A whole table. The kernel says so if it has changed meanwhile, and then it is read again."""
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

    for _ in range(DUMPS):
        with suppress(NetlinkDumpInterrupted):
            return list(get(**arguments))
    raise FabricUnavailable(
        "the routes of this machine change faster than they can be read\n    fix: start again when they are at rest"
    )


def _ask(call: Callable[..., Any], verb: str, **arguments: Any) -> None:
    """One change; a refusal of the kernel in words."""
    from pyroute2 import NetlinkError

    try:
        call(verb, **arguments)
    except NetlinkError as error:
        what = arguments.get("dst") or arguments.get("address") or arguments.get("altname") or "the interface"
        if error.code in (errno.EPERM, errno.EACCES):
            raise FabricUnavailable(
                f"{what}: changing it needs the capability CAP_NET_ADMIN\n    fix: run as root"
            ) from error
        raise Refused(f"{what}: the kernel refuses to {verb} it: {error}") from error
