"""A connector or a client as a process: an interface of this machine that leads into the tunnel, signals, log."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import cast

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from connectors.advertised import Advertised, prefixes
from connectors.deployment import Mode, instructions, need_forwarding
from connectors.endpoint import Endpoint
from connectors.interface import SHOWN, Interface, has_ipv6, main_table, neighbours, netlink, sweep
from connectors.notify import notify
from connectors.profile import Profile
from connectors.proto.border import Border
from connectors.proto.interface_plan import HostAddress, InterfacePlan, Lookup, clashes, plan
from connectors.proto.split_tunnel import Network
from connectors.relookup import Relookup
from connectors.resolve import Dialled, candidates_aside, has_names, masque_target, others_first, resolve
from connectors.tun import DEVICE, Tun, check_name, unavailable
from connectors.tun_side import PacketDevice, TunSide
from connectors.uplink import KernelChanges, Uplink, source_towards
from edge.errors import FabricUnavailable, PoplabError, Refused
from edge.io.udp import UdpPort
from edge.log import configure_log
from edge.proto.masque.route import AddressRange
from edge.proto.types import Address

LINGER = 0.001  # the process is there for this tunnel
READS = 16  # of the socket in a turn, 64 KiB of buffer each
NO_ANSWER = (
    "no answer: is the PoP up, has it been reloaded since this end was enrolled, does a firewall let it in?"
)
PATIENCE = 10.0  # seconds until the log says that the tunnel does not come up
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CAP_NET_ADMIN = 12

log: FilteringBoundLogger = structlog.get_logger("poplab")


@dataclass(frozen=True, slots=True)
class Options:
    """`include` in the place of what the profile or the PoP says; `mode` is a connector's."""

    interface: str = "poplab0"
    include: tuple[Network, ...] | None = None
    exclude: tuple[Network, ...] = ()
    mode: Mode | None = None
    enable_forwarding: bool = False


class Daemon:
    """One tunnel. Making it changes nothing and refuses what cannot be; ``run`` sets up, serves and takes back."""

    def __init__(self, profile: Profile, options: Options) -> None:
        check_name(options.interface)
        self.profile = profile
        self.options = options
        _need_privilege()
        if _exists(options.interface):  # first: what it has, such as our address, would be in the way as well
            raise Refused(
                f"{options.interface}: there is an interface of that name already: does this tunnel run already?\n"
                "    fix: stop the other one; for another tunnel, --name, such as poplab1"
            )
        self._ipv6 = has_ipv6()
        self.dialled: Dialled = resolve(profile)
        self._wanted: Sequence[Network] = options.include or profile.reaches or ()
        self.plan = self._planned()
        with netlink() as handle:
            self._around = neighbours(handle)
            if found := clashes(self.plan, self._around, main_table(handle)):
                raise Refused("\n".join(f"{clash.message}\n    fix: {clash.fix}" for clash in found))
        self._interface: Interface | None = None
        self._told = False  # what is left to be done elsewhere
        self._stopping = False

    def check(self) -> list[str]:
        """What would be done, in words; Refused if forwarding is off."""
        if self.options.mode is not None and not self.options.enable_forwarding:
            need_forwarding(self.profile.serves, enable=False)
        plan, name = self.plan, self.options.interface
        lines = [f"{name}: {', '.join(map(str, plan.addresses)) or 'no address'}, MTU {plan.mtu}"]
        if self.options.include is None and self.profile.reaches is None:
            lines.append("routes: those that the PoP tells")
        if plan.main:
            lines.append(f"routes: {', '.join(map(str, plan.main))}")
        if plan.own:
            lines.append(
                f"routes in a table of its own, asked after the main one: {', '.join(map(str, plan.own))}"
            )
            beside = [str(rule.to) for rule in plan.rules if rule.lookup is Lookup.NOWHERE]
            if beside:
                lines.append(f"beside the tunnel, by a rule: {', '.join(beside)}")
        return lines + self._instructions()

    def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP. PoplabError if it cannot go on."""
        configure_log(verbose=False)
        if self.options.mode is not None:
            for setting in need_forwarding(self.profile.serves, enable=self.options.enable_forwarding):
                log.warning(
                    "forwarding", set=setting, stays="until the machine starts again, or you reset it"
                )
        try:
            trio.run(self._run)
        except* PoplabError as group:
            raise _first(group) from None

    async def _run(self) -> None:
        border = Border([*map(ip_network, self.profile.addresses), *self.profile.serves])
        side = TunSide(self._open_device, border)
        endpoint = self._endpoint(side)
        endpoint.on_way = partial(self._took, endpoint)
        advertised = Advertised()
        if self.options.include is None:
            endpoint.on_routes = advertised.tell
        # Started by nohup(1), it goes on ignoring that the terminal is closed. SIGINT ends it as it does the PoP, also
        # where a script has started it with &, for which a shell without job control has SIGINT ignored.
        heeded = [
            each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN
        ]
        with trio.open_signal_receiver(*heeded) as signals, KernelChanges() as changes:
            uplink = Uplink(self.dialled.addresses, changes)
            relookup = Relookup(
                partial(candidates_aside, self.profile), lambda: uplink.is_there and endpoint.answers
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(endpoint.run)
                notify("READY=1\nSTATUS=waiting for the PoP")
                log.info(
                    "started",
                    tunnel=self.profile.name,
                    interface=self.options.interface,
                    process=os.getpid(),
                    pop=self.dialled.words,
                    addresses=" ".join(map(str, self.plan.addresses)),
                    routes=len(self.plan.routes),
                )
                if not self._ipv6 and any(address.version == 6 for address in self.profile.addresses):
                    log.warning(
                        "no-ipv6", because="this machine has it turned off", then="IPv4 alone is tunnelled"
                    )
                self._tell()
                nursery.start_soon(self._watch, endpoint)
                nursery.start_soon(advertised.follow, self._heard)
                nursery.start_soon(uplink.follow, partial(self._moved, endpoint, relookup))
                if has_names(self.profile):
                    nursery.start_soon(
                        relookup.follow, partial(self._found, endpoint, uplink), self._not_found
                    )
                async for number in signals:
                    log.info("stopping", signal=signal.Signals(number).name)
                    notify("STOPPING=1")
                    self._stopping = True
                    # Who presses Ctrl-C again gets the same clean stop: no more signals from here on.
                    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
                    nursery.cancel_scope.cancel()
                    break
        seen = endpoint.statistics()
        log.info("stopped", packets_in=seen.packets_in, packets_out=seen.packets_out)

    def _endpoint(self, side: TunSide) -> Endpoint:
        profile, wireguard = self.profile, self.profile.wireguard
        return Endpoint(
            profile.name,
            b"" if wireguard is None else wireguard.private_key,
            b"" if wireguard is None else wireguard.public_key,
            self.dialled.wireguard or self.dialled.masque[0],
            side,
            psk=None if wireguard is None else wireguard.preshared_key,
            keepalive=None if wireguard is None else wireguard.keepalive,
            tunnel=profile.tunnel,
            masque=masque_target(profile, self.dialled),
            bind=self._bind,
            open_port=partial(UdpPort.bind, reads=READS, may_fragment=profile.tunnel == "wireguard"),
            linger=LINGER,
        )

    @property
    def _bind(self) -> Address:
        wireguard = self.profile.wireguard
        return self.dialled.any_address, 0 if wireguard is None else wireguard.listen_port

    @contextmanager
    def _open_device(self) -> Iterator[PacketDevice]:
        name = self.options.interface
        with netlink() as handle, Tun.open(name, mtu=self.plan.mtu) as tun:
            if stale := sweep(handle):
                log.info("swept", rules=stale, left_by="a process that was killed")
            self._interface = Interface(handle, tun.index, name)
            try:
                self._interface.apply(self.plan)
                yield cast("PacketDevice", tun)
            finally:
                self._interface.remove()
                self._interface = None

    def _planned(self) -> InterfacePlan:
        """Of the IP versions that this machine has."""
        pops: list[HostAddress] = [ip_address(address) for address, _ in self.dialled.addresses]
        addresses = [address for address in self.profile.addresses if self._has(address.version)]
        wanted = [prefix for prefix in self._wanted if self._has(prefix.version)]
        return plan(addresses, wanted, self.options.exclude, pops, mtu=self.profile.mtu)

    def _has(self, version: int) -> bool:
        return version == 4 or self._ipv6

    def _took(self, endpoint: Endpoint, way: str) -> None:
        if self._stopping:
            return
        if way:
            better = {"instead_of": "; ".join(endpoint.failures)} if endpoint.failures else {}
            log.info("tunnel-up", tunnel=self.profile.name, way=way, **better)
        else:
            log.warning("tunnel-down", tunnel=self.profile.name)
        notify(f"STATUS=tunnel up, by {way}" if way else "STATUS=tunnel down")

    def _heard(self, ranges: Sequence[AddressRange]) -> None:
        """The PoP has told what it forwards to; what this machine has otherwise stays as it is."""
        if self._interface is None:
            return
        try:
            self._wanted = prefixes(ranges)
            self._apply()
        except (PoplabError, OSError) as error:
            log.error("routes", problem=str(error))
        else:
            routes = self.plan.routes
            more = {"and_others": len(routes) - SHOWN} if len(routes) > SHOWN else {}
            log.info("routes", routes=" ".join(map(str, routes[:SHOWN])), told_by="the PoP", **more)
        self._tell()

    def _apply(self) -> None:
        """What is wanted now, towards the PoPs of now."""
        if self._interface is None:
            return
        wanted, beside = self._planned(), self._interface.index
        with netlink() as handle:
            found = clashes(wanted, neighbours(handle, beside=beside), main_table(handle, beside=beside))
        for clash in found[:SHOWN]:
            log.warning("left-out", route=str(clash.route), because=clash.message, fix=clash.fix)
        left_out = {clash.route for clash in found}
        self.plan = replace(wanted, routes=tuple(r for r in wanted.routes if r not in left_out))
        self._interface.apply(self.plan)

    def _moved(self, endpoint: Endpoint, relookup: Relookup, before: str, now: str) -> None:
        """This machine has another address towards the PoP, or none."""
        relookup.hurry()
        if now:
            log.info("moved", before=before or "nowhere", now=now)
            endpoint.moved()
        else:
            log.warning("no-way", before=before, because="this machine has no route to the PoP")

    def _found(self, endpoint: Endpoint, uplink: Uplink, candidates: Sequence[Dialled]) -> None:
        """The names of the servers, looked up again while nobody answers: the first that can be reached are next."""
        before = self.dialled
        chosen = next(filter(self._leads_to, others_first(candidates, before)), before)
        try:
            masque = masque_target(self.profile, chosen)
        except PoplabError as error:
            self._not_found(error)
            chosen = before
        self._keep_clear_of(chosen)  # before anything is sent there
        if not chosen.same_as(before):
            log.warning("server-moved", before=before.words, now=chosen.words)
            endpoint.redial(chosen.wireguard or chosen.masque[0], masque, self._bind)
            uplink.head_for(chosen.addresses)

    def _leads_to(self, dialled: Dialled) -> bool:
        """Whether there is a way to one of these servers, and none into the tunnel.

        A full tunnel is a way to everything until there are rules against it: they are set to find out.
        """
        if not any(map(source_towards, dialled.addresses)):
            return False
        self._keep_clear_of(dialled)
        sources = set(map(source_towards, dialled.addresses))
        return sources != {""} and sources.isdisjoint(map(str, self.profile.addresses))

    def _keep_clear_of(self, dialled: Dialled) -> None:
        """Have what is for these servers go beside the tunnel, and for no others."""
        if dialled.same_as(self.dialled):
            return
        self.dialled = dialled
        try:
            self._apply()
        except (PoplabError, OSError) as error:
            log.error("routes", problem=str(error))

    @staticmethod
    def _not_found(error: PoplabError) -> None:
        log.warning("lookup", problem=str(error).partition("\n")[0])

    def _instructions(self) -> list[str]:
        mode, profile = self.options.mode, self.profile
        if mode is None:
            return []
        return instructions(mode, profile.serves, self.plan.routes, self._around)

    def _tell(self) -> None:
        if not self._told and self.plan.routes and self.options.mode is not None:
            self._told = True
            for line in self._instructions():
                log.info("to-do", mode=self.options.mode.value, elsewhere=line.strip())

    async def _watch(self, endpoint: Endpoint) -> None:
        """Say so if nobody answers."""
        with trio.move_on_after(PATIENCE):
            await endpoint.wait_up()
            return
        reasons = "; ".join(endpoint.failures) or NO_ANSWER
        log.warning("no-tunnel", pop=self.dialled.words, seconds=PATIENCE, reasons=reasons)


def _need_privilege() -> None:
    """FabricUnavailable unless this process may make interfaces."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        raise unavailable(error) from error
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1:
            raise FabricUnavailable(
                "an interface and its routes need the capability CAP_NET_ADMIN, which this process does not have\n"
                "    fix: run as root; or as a service, see --systemd; in a container, with --cap-add NET_ADMIN"
            )


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _first(group: BaseExceptionGroup[PoplabError]) -> PoplabError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PoplabError)
    return error
