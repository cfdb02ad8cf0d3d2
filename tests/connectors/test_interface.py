"""The interface by netlink, where the kernel does not do as it is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

pyroute2 = pytest.importorskip("pyroute2")

from pyroute2 import NetlinkError  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted  # noqa: E402

from connectors.interface import DUMPS, MAIN_TABLE, Interface, main_table, netlink, sweep  # noqa: E402
from connectors.proto.interface_plan import InterfacePlan, plan  # noqa: E402
from edge.errors import FabricUnavailable, Refused  # noqa: E402


class Kernel:
    """Routes by (table, prefix), and what it refuses; the same calls as an IPRoute."""

    def __init__(self, *, interruptions: int = 0) -> None:
        self.interruptions = interruptions
        self.routes: set[tuple[int, str]] = set()
        self.refused: set[str] = set()  # prefixes, and alternative names of interfaces
        self.rules: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []  # of rules: verb, and for whom

    def route(self, verb: str, *, table: int, dst: str, **_: Any) -> None:
        if verb == "add":
            if dst in self.refused:
                raise NetlinkError(17, "File exists")
            self.routes.add((table, dst))
        elif (table, dst) not in self.routes:
            raise NetlinkError(3, "No such process")
        else:
            self.routes.remove((table, dst))

    def dump(self, **_: Any) -> list[Any]:
        if self.interruptions:
            self.interruptions -= 1
            raise NetlinkDumpInterrupted
        return []

    get_links = get_rules = get_routes = dump

    def link(self, verb: str, *, altname: str = "", **_: Any) -> None:
        if altname in self.refused:
            raise NetlinkError(17, "File exists")

    def addr(self, verb: str, **_: Any) -> None:
        """Anything goes."""

    def rule(self, verb: str, **what: Any) -> None:
        if verb == "add":
            self.rules.append(what)
        else:
            self.rules.remove(what)
        self.asked.append((verb, what.get("dst", "")))


def planned(*include: str, pop: str = "192.0.2.1") -> InterfacePlan:
    pops = [ip_address(pop)]
    return plan([ip_address("100.96.0.2")], map(ip_network, include), (), pops, mtu=1280)


def interface(kernel: Kernel) -> Interface:
    return Interface(cast("Any", kernel), 7, "poplab0")


@pytest.mark.parametrize("read", [sweep, main_table])
def test_a_table_that_changes_while_it_is_read_is_read_again(read: Callable[[Any], object]):
    assert not read(Kernel(interruptions=DUMPS - 1))
    with pytest.raises(FabricUnavailable, match="change faster"):
        read(Kernel(interruptions=DUMPS))


def test_a_route_that_is_gone_already_is_no_reason_to_stop():
    kernel = Kernel()
    ours = interface(kernel)
    ours.apply(planned("10.0.0.0/24", "10.2.0.0/24"))
    kernel.routes.clear()  # somebody has set the interface down
    ours.apply(planned("10.4.0.0/24"))
    assert kernel.routes == {(MAIN_TABLE, "10.4.0.0/24")}


def test_a_route_that_the_kernel_refuses_does_not_cost_the_others_and_is_tried_again():
    kernel = Kernel()
    kernel.refused = {"10.0.0.0/24"}
    ours = interface(kernel)
    with pytest.raises(Refused, match="10.0.0.0/24: the kernel refuses"):
        ours.apply(planned("10.0.0.0/24", "10.2.0.0/24"))
    assert kernel.routes == {(MAIN_TABLE, "10.2.0.0/24")}
    kernel.refused = set()
    ours.apply(planned("10.0.0.0/24", "10.2.0.0/24"))
    assert kernel.routes == {(MAIN_TABLE, "10.0.0.0/24"), (MAIN_TABLE, "10.2.0.0/24")}


def test_the_pops_of_all_tunnels_are_beside_all_tunnels():
    first, second = Kernel(), Kernel()
    second.refused = {"poplab-table-0"}  # the first has it
    for kernel in (first, second):
        interface(kernel).apply(planned("0.0.0.0/0"))
    places = [[rule["priority"] for rule in kernel.rules] for kernel in (first, second)]
    assert len({*places[0], *places[1]}) == 8
    assert max(*places[0][:2], *places[1][:2]) < min(*places[0][2:], *places[1][2:])
    assert all("dst" in rule for kernel in (first, second) for rule in kernel.rules[:2])


def test_a_pop_that_has_moved_changes_its_own_rules_and_no_others():
    kernel = Kernel()
    ours = interface(kernel)
    ours.apply(planned("0.0.0.0/0"))
    before = len(kernel.rules)
    kernel.asked.clear()
    ours.apply(planned("0.0.0.0/0", pop="192.0.2.2"))
    new, old = "192.0.2.2", "192.0.2.1"
    assert kernel.asked == [("add", new), ("add", new), ("del", old), ("del", old)]
    assert len(kernel.rules) == before and len(kernel.routes) == 1
    ours.apply(planned("10.0.0.0/24", pop="192.0.2.2"))
    assert kernel.rules == [] and kernel.routes == {(MAIN_TABLE, "10.0.0.0/24")}


def test_taking_back_never_raises():
    kernel = Kernel()
    ours = interface(kernel)
    ours.apply(planned("0.0.0.0/0"))
    kernel.interruptions = 1000
    ours.remove()


def test_without_pyroute2_the_fix_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(FabricUnavailable, match="pip install pyroute2"), netlink():
        pass
