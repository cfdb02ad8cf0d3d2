"""What the kernel has beside namespaces, and the limits that it sets."""

from __future__ import annotations

import errno

from scenarios.doctor.examination import Examination, Item
from scenarios.doctor.finding import Group, State, Verdict

TUN = "/dev/net/tun"
PASS_DEVICE = f"start the container with --device {TUN}"
NETWORK = "network-namespace"
BUFFER = 4 << 20
"""Bytes that a UDP port asks for."""
MANY_FILES = 4096
"""Sockets and devices of a world with a few hundred members."""


def _feature(
    name: str, needed_by: str, *, option: str, module: str = "", lack: str = "", unneeded: str = ""
) -> Item:
    """Something that is tried in a network namespace. What nothing needs says why, and needs no remedy."""

    def judge(look: Examination) -> Verdict:
        attempt = look.attempt(name)
        if attempt.state == "untried":
            return look.follows(NETWORK, f"could not be tried: {attempt.detail}")
        kernel = f"use a kernel with {option}"
        load = f"{look.as_root(f'modprobe {module}')}, or {kernel}" if module else kernel
        if attempt.state == "limited":
            return Verdict(State.LIMITED, attempt.detail, kernel)
        if attempt.state == "yes":
            return Verdict(State.YES, attempt.detail)
        if unneeded:
            return Verdict(State.NO, f"{attempt.detail}; not needed: {unneeded}")
        return Verdict(State.NO, attempt.detail, load)

    return Item(
        name,
        Group.KERNEL,
        lack or f"no {name.replace('-', ' ')}",
        needed_by,
        judge,
        attempts=(name,),
        after=(NETWORK,),
        linux=True,
    )


def _device(name: str, needed_by: str, lack: str) -> Item:
    """As above, for what is made of /dev/net/tun, where the remedy depends on what is wrong with it."""

    def judge(look: Examination) -> Verdict:
        attempt = look.attempt(name)
        if attempt.state == "untried":
            return look.follows(NETWORK, f"could not be tried: {attempt.detail}")
        if attempt.state != "no":
            newer = "use a newer kernel" if attempt.state == "limited" else ""
            return Verdict(State(attempt.state), attempt.detail, newer)
        if attempt.errno == errno.ENOENT:
            fix = PASS_DEVICE if look.container else look.as_root("modprobe tun")
            return Verdict(State.NO, f"{TUN} is missing", fix)
        if attempt.errno == errno.EACCES:
            return Verdict(State.NO, attempt.detail, look.as_root(f"chmod 0666 {TUN}"))
        if attempt.errno == errno.EPERM:
            return Verdict(State.NO, attempt.detail, PASS_DEVICE if look.container else "run it as root")
        load = look.as_root("modprobe tun")
        return Verdict(State.NO, attempt.detail, f"{load}, or use a kernel with CONFIG_TUN")

    return Item(name, Group.KERNEL, lack, needed_by, judge, attempts=(name,), after=(NETWORK,), linux=True)


def _offload(name: str, since: str) -> Item:
    def judge(look: Examination) -> Verdict:
        attempt = look.attempt(name)
        if attempt.state == "yes":
            return Verdict(State.YES, attempt.detail)
        return Verdict(State.LIMITED, f"one datagram at a time: {attempt.detail}", f"use {since} or newer")

    lack = f"no {name.upper().replace('-', ' ')}"
    return Item(name, Group.KERNEL, lack, "a fast PoP", judge, attempts=(name,), linux=True)


def _mmsg(look: Examination) -> Verdict:
    if look.machine.many_datagrams():
        return Verdict(State.YES, "many datagrams with one system call")
    return Verdict(
        State.LIMITED, "one system call for each datagram", "use a 64-bit Linux with glibc or musl"
    )


def _icmp(look: Examination) -> Verdict:
    attempt = look.attempt("icmp-sockets")
    limits = " ".join((look.machine.read("/proc/sys/net/ipv4/ping_group_range") or "not there").split())
    if attempt.state == "yes":
        return Verdict(State.YES, attempt.detail)
    why = f"ping_group_range is {limits}"
    return Verdict(State.NO, f"{attempt.detail}: {why}; not needed: hosts have raw sockets")


def _tun_device(look: Examination) -> Verdict:
    mode = look.machine.mode(TUN)
    if not mode:
        fix = PASS_DEVICE if look.container else look.as_root("modprobe tun")
        return Verdict(State.NO, f"{TUN} is missing", fix)
    if look.machine.usable(TUN):
        if mode.endswith("rw-"):
            return Verdict(State.YES, mode)
        return Verdict(State.LIMITED, f"{mode}; ordinary users may not", look.as_root(f"chmod 0666 {TUN}"))
    return Verdict(State.NO, f"{mode}: not for this user", look.as_root(f"chmod 0666 {TUN}"))


def _open_files(look: Examination) -> Verdict:
    soft, hard = look.machine.open_files()
    if soft >= MANY_FILES or soft < 0:
        return Verdict(State.YES, f"{soft:,}" if soft >= 0 else "no limit")
    wanted = "65536" if hard < 0 else str(min(hard, 65536))
    fix = f"ulimit -n {wanted}" if hard < 0 or hard > soft else "raise nofile in /etc/security/limits.conf"
    return Verdict(State.LIMITED, f"{soft:,}: enough for small worlds", fix)


def _buffers(look: Examination) -> Verdict:
    attempt = look.attempt("udp-buffers")
    if attempt.state == "yes":
        return Verdict(State.YES, attempt.detail)
    fix = look.as_root(f"sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}")
    return Verdict(State.LIMITED, attempt.detail, fix)


KERNEL = (
    _feature("veth", "netns: cables", option="CONFIG_VETH", module="veth", lack="no veth pairs"),
    _feature("bridge", "netns: the LAN of a site", option="CONFIG_BRIDGE", module="bridge"),
    _device("tun", "`agent`, connector, client", "no TUN device"),
    _device("tun-offload", "a fast connector or client", "no TUN offload"),
    _feature(
        "policy-routing",
        "netns: routing of a site",
        option="CONFIG_IP_MULTIPLE_TABLES",
        lack="no policy routing",
    ),
    _feature("raw-sockets", "netns: simulated hosts", option="CONFIG_INET"),
    _feature("packet-sockets", "netns: simulated hosts", option="CONFIG_PACKET", module="af_packet"),
    _feature("ipv6", "netns: worlds with IPv6", option="CONFIG_IPV6", module="ipv6", lack="no IPv6"),
    _feature("nf-tables", "`exec` that filters", option="CONFIG_NF_TABLES", module="nf_tables"),
    _feature("vrf", "", option="CONFIG_NET_VRF", lack="no VRF", unneeded="a namespace does it"),
    _feature(
        "netem", "", option="CONFIG_NET_SCH_NETEM", lack="no netem", unneeded="the links are poplab's own"
    ),
    _offload("udp-gso", "Linux 4.18"),
    _offload("udp-gro", "Linux 5.0"),
    Item("mmsg", Group.KERNEL, "no recvmmsg and sendmmsg", "a fast PoP", _mmsg, linux=True),
    Item(
        "icmp-sockets",
        Group.KERNEL,
        "no ICMP sockets for ordinary users",
        "",
        _icmp,
        attempts=("icmp-sockets",),
        linux=True,
    ),
)

LIMITS = (
    Item(
        "tun-device",
        Group.RESTRICTIONS,
        "no access to TUN devices",
        "`agent` without root",
        _tun_device,
        linux=True,
    ),
    Item("open-files", Group.RESTRICTIONS, "few open files", "worlds with hundreds", _open_files),
    Item(
        "udp-buffers",
        Group.RESTRICTIONS,
        "small UDP buffers",
        "a fast PoP",
        _buffers,
        attempts=("udp-buffers",),
        linux=True,
    ),
)
