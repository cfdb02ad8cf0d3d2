"""How the hosts of a site find their connector, and what that takes on this machine and on others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from connectors.proto.interface_plan import HostAddress, Neighbour
from connectors.proto.split_tunnel import Network
from edge.errors import FabricUnavailable, Refused

FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class Mode(StrEnum):
    """Who sends to the connector what is for the virtual network."""

    DEFAULT_GATEWAY = "default-gateway"  # the hosts, whatever is not of the LAN: it is their router
    INTERMEDIATE_GATEWAY = "intermediate-gateway"  # the router of the LAN, by static routes
    PER_HOST = "per-host"  # the hosts, by static routes


def forwards(version: int) -> bool:
    """Whether the network namespace of the calling process forwards packets of that IP version."""
    try:
        return _path(version).read_text().strip() not in ("", "0")
    except OSError:
        return False


def need_forwarding(serves: Iterable[Network], *, enable: bool) -> list[str]:
    """Make sure that packets of the site are forwarded; Refused unless they are, or may be made so by `enable`.

    Returns the settings that were changed. They stay: others may have come to rely on them.
    """
    changed = []
    for version in sorted({prefix.version for prefix in serves}):
        if forwards(version):
            continue
        setting = f"{FORWARDING[version]}=1"
        if not enable:
            raise Refused(
                f"{FORWARDING[version]} is 0: this machine forwards nothing, so nobody behind it would be reached\n"
                f"    fix: `sysctl -w {setting}`, or --enable-forwarding, which does it; it is a setting of the whole "
                f"machine.\n         For good: `echo {setting} > /etc/sysctl.d/90-poplab.conf`"
            )
        try:
            _path(version).write_text("1")
        except OSError as error:
            raise FabricUnavailable(
                f"{setting}: {error.strerror}\n    fix: `sysctl -w {setting}` as root"
            ) from error
        changed.append(setting)
    return changed


def lan_address(
    serves: Iterable[Network], neighbours: Sequence[Neighbour], version: int
) -> HostAddress | None:
    """Where hosts of the site reach this machine: its address in one of the site's prefixes."""
    prefixes = [prefix for prefix in serves if prefix.version == version]
    addresses = [n.address.ip for n in neighbours if not n.address.ip.is_loopback]
    return next((address for address in addresses if any(address in prefix for prefix in prefixes)), None)


def instructions(
    mode: Mode, serves: Sequence[Network], reaches: Sequence[Network], neighbours: Sequence[Neighbour]
) -> list[str]:
    """What is left to be done elsewhere, in words and in lines to type."""
    lines: list[str] = []
    for version in sorted({prefix.version for prefix in serves}):
        site = ", ".join(str(prefix) for prefix in serves if prefix.version == version)
        own = lan_address(serves, neighbours, version)
        via = "THIS-MACHINE" if own is None else str(own)
        ip = "ip -6 route" if version == 6 else "ip route"
        if own is None:
            lines.append(
                f"this machine has no address in {site}: put its address in the place of {via}, and see that it has "
                "a route to the site"
            )
        if mode is Mode.DEFAULT_GATEWAY:
            how = "router advertisements" if version == 6 else "DHCP option 3"
            lines += [
                f"on every host of {site} ({how} tells them all), this machine is the default gateway:",
                f"    {ip} replace default via {via}",
            ]
            continue
        where = (
            f"on the router of {site}, routes lead to this machine"
            if mode is Mode.INTERMEDIATE_GATEWAY
            else f"on every host of {site} that takes part, routes lead to this machine"
        )
        prefixes = [prefix for prefix in reaches if prefix.version == version]
        everything = any(not prefix.prefixlen for prefix in prefixes)
        if everything and mode is Mode.PER_HOST:
            commands = [f"    {ip} replace default via {via}"]
        else:
            commands = [f"    {ip} add {prefix} via {via}" for prefix in prefixes if prefix.prefixlen]
        if commands:
            lines += [f"{where}:", *commands]
        if everything and mode is Mode.INTERMEDIATE_GATEWAY:
            lines.append(
                f"everything else of IPv{version} cannot come by the router, which brings this machine's own packets "
                "to the PoP: with --mode per-host or default-gateway, the hosts send it here"
            )
    return lines


def _path(version: int) -> Path:
    return Path("/proc/sys", FORWARDING[version].replace(".", "/"))
