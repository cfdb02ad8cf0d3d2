"""Whether namespaces can be made here, and what stands in the way."""

from __future__ import annotations

import errno

from scenarios.doctor.examination import Examination, Item
from scenarios.doctor.finding import Group, State, Verdict
from scenarios.doctor.machine import Attempt

USER = "user-namespace"
APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
CLONE = "/proc/sys/kernel/unprivileged_userns_clone"
LIMIT = "/proc/sys/user/max_user_namespaces"
NETWORK_LIMIT = "/proc/sys/user/max_net_namespaces"
STATUS = "/proc/self/status"
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21  # include/uapi/linux/capability.h
EXEC = "`exec`: ends with the run"
ORDINARY = "netns without root"
NO_SUCH_FEATURE = (errno.EINVAL, errno.ENOSYS)

ALLOW_APPARMOR = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
ALLOW_CLONE = "sysctl -w kernel.unprivileged_userns_clone=1"
ALLOW_SOME = "sysctl -w user.max_user_namespaces=15000"
ALLOW_NETWORKS = "sysctl -w user.max_net_namespaces=15000"
OPEN_CONTAINER = (
    "start the container with --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
)


def _status(look: Examination, key: str) -> str:
    for line in (look.machine.read(STATUS) or "").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return ""


def _capable(look: Examination) -> bool:
    """Whether this process has what root has where root is not confined."""
    bits = int(_status(look, "CapEff") or "0", 16)
    return bool(bits >> CAP_SYS_ADMIN & 1 and bits >> CAP_NET_ADMIN & 1)


def _remedy(look: Examination, attempt: Attempt, option: str) -> str:
    """How ordinary users, or those in a container, get the right to make namespaces."""
    if look.machine.read(NETWORK_LIMIT) == "0":
        return look.as_root(ALLOW_NETWORKS)
    if look.machine.read(LIMIT) == "0" or attempt.errno in (errno.ENOSPC, errno.EUSERS):
        return look.as_root(ALLOW_SOME)
    if not look.machine.root and look.machine.read(APPARMOR) == "1":
        return look.as_root(ALLOW_APPARMOR)
    if not look.machine.root and look.machine.read(CLONE) == "0":
        return look.as_root(ALLOW_CLONE)
    if look.container or (look.machine.root and not _capable(look)):
        return OPEN_CONTAINER
    if attempt.errno in NO_SUCH_FEATURE:
        return f"use a kernel with {option}"
    return "use a machine that allows it" if look.machine.root else "run it as root"


def _user(look: Examination) -> Verdict:
    attempt = look.attempt(USER)
    if attempt.state != "yes":
        option = "CONFIG_NET_NS" if "NEWNET" in attempt.step else "CONFIG_USER_NS"
        return Verdict(State.NO, attempt.detail, _remedy(look, attempt, option))
    if not look.machine.root:
        return Verdict(State.YES, "without root")
    ordinary = look.attempt("ordinary-user-namespace")
    if ordinary.state == "yes":
        return Verdict(State.YES, "root and ordinary users")
    fix = "run it as root"
    if look.machine.read(APPARMOR) == "1":
        fix = look.as_root(ALLOW_APPARMOR)
    elif look.machine.read(CLONE) == "0":
        fix = look.as_root(ALLOW_CLONE)
    return Verdict(State.LIMITED, f"root only; ordinary users: {ordinary.detail}", fix)


def _room(name: str, option: str) -> Item:
    def judge(look: Examination) -> Verdict:
        attempt = look.attempt(name)
        if attempt.state == "yes":
            return Verdict(State.YES, attempt.detail)
        if not look.machine.root and not look.finding(USER).there:
            return look.follows(USER, attempt.detail)
        return Verdict(State.NO, attempt.detail, _remedy(look, attempt, option))

    word = name.partition("-")[0]
    return Item(
        name,
        Group.KERNEL,
        f"no {word} namespace can be made",
        {"network": "netns: one for each host", "mount": "netns: its own resolv.conf", "pid": EXEC}[word],
        judge,
        attempts=(name,),
        after=(USER,),
        linux=True,
    )


def _apparmor(look: Examination) -> Verdict:
    value = look.machine.read(APPARMOR)
    if value != "1":
        return Verdict(State.YES, "no restriction" if value is None else f"{value}: no restriction")
    user = look.finding(USER)
    if user.state is State.UNKNOWN:
        return look.follows(USER)
    if user.state is State.YES:
        return Verdict(State.YES, "1, and a profile lets poplab through")
    state = State.LIMITED if look.machine.root else State.NO
    return Verdict(state, "set to 1: only programs with a profile may", look.as_root(ALLOW_APPARMOR))


def _clone(look: Examination) -> Verdict:
    value = look.machine.read(CLONE)
    if value != "0":
        return Verdict(State.YES, "no restriction" if value is None else f"{value}: no restriction")
    state = State.LIMITED if look.machine.root else State.NO
    return Verdict(state, "set to 0", look.as_root(ALLOW_CLONE))


def _limit(look: Examination) -> Verdict:
    value = look.machine.read(LIMIT)
    if value == "0":
        return Verdict(State.NO, "set to 0", look.as_root(ALLOW_SOME))
    return Verdict(State.YES, "no limit" if value is None else f"{int(value):,} for each user")


def _capabilities(look: Examination) -> Verdict:
    where = f" ({look.container} container)" if look.container else ""
    if _capable(look):
        return Verdict(State.YES, f"CAP_SYS_ADMIN and CAP_NET_ADMIN{where}")
    who = "root without CAP_SYS_ADMIN or CAP_NET_ADMIN" if look.machine.root else "an ordinary user"
    network = look.finding("network-namespace")
    if network.there:
        return Verdict(State.YES, f"{who}{where}, with all of them in a user namespace")
    return look.follows(network.name, f"{who}{where}, and no user namespace")


def _seccomp(look: Examination) -> Verdict:
    if _status(look, "Seccomp") in ("", "0"):
        return Verdict(State.YES, "no filter")
    network = look.finding("network-namespace")
    if network.there:
        return Verdict(State.YES, "a filter that lets namespaces be made")
    return look.follows(network.name, "a filter of system calls, which may be why", State.LIMITED)


NAMESPACES = (
    Item(
        USER,
        Group.KERNEL,
        "no user namespace can be made",
        ORDINARY,
        _user,
        attempts=(USER,),
        linux=True,
    ),
    _room("network-namespace", "CONFIG_NET_NS"),
    _room("mount-namespace", "CONFIG_NAMESPACES"),
    _room("pid-namespace", "CONFIG_PID_NS"),
)

RESTRICTIONS = (
    Item(
        "apparmor-userns",
        Group.RESTRICTIONS,
        "AppArmor keeps ordinary users from user namespaces",
        ORDINARY,
        _apparmor,
        after=(USER,),
        linux=True,
    ),
    Item(
        "userns-clone",
        Group.RESTRICTIONS,
        "ordinary users may not make user namespaces",
        ORDINARY,
        _clone,
        linux=True,
    ),
    Item("userns-limit", Group.RESTRICTIONS, "nobody may make user namespaces", ORDINARY, _limit, linux=True),
    Item(
        "capabilities",
        Group.RESTRICTIONS,
        "no right to make network namespaces",
        "netns",
        _capabilities,
        after=("network-namespace",),
        linux=True,
    ),
    Item(
        "seccomp",
        Group.RESTRICTIONS,
        "system calls are filtered",
        "netns",
        _seccomp,
        after=("network-namespace",),
        linux=True,
    ),
)
