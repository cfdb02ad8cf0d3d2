"""Things tried in earnest, in a process of its own whose namespaces end with it; the standard library only.

``main`` takes names and prints one line of JSON for each as soon as it is known: name, state, what was seen or why not,
error number, and the step that failed. A process, not a thread: what is entered here must not be the caller's, a kernel
that hangs can be left to itself, and a caller with threads may not fork.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from scenarios.doctor.trial import kernel, rooms, sockets

Attempt = Callable[[], str]

ANYWHERE: Mapping[str, Attempt] = MappingProxyType(
    {
        "udp": sockets.udp,
        "udp-gso": sockets.gso,
        "udp-gro": sockets.gro,
        "udp-buffers": sockets.buffers,
        "icmp-sockets": sockets.icmp,
    }
)
"""Where this process is; none of them leaves anything."""

IN_NAMESPACE: Mapping[str, Attempt] = MappingProxyType(
    {
        "veth": kernel.veth,
        "bridge": kernel.bridge,
        "tun": kernel.tun,
        "tun-offload": kernel.tun_offload,
        "policy-routing": kernel.policy_routing,
        "raw-sockets": kernel.raw_sockets,
        "packet-sockets": kernel.packet_sockets,
        "nf-tables": kernel.nf_tables,
        "vrf": kernel.vrf,
        "ipv6": kernel.ipv6,
        "netem": kernel.netem,
    }
)

ROOMS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "network-namespace": rooms.enter_network,
        "mount-namespace": rooms.enter_mount,
        "pid-namespace": rooms.enter_pid,
    }
)
"""In this order: the first is where the rest is tried."""

USER, ORDINARY_USER = "user-namespace", "ordinary-user-namespace"
LIMITED = "limited: "


def main() -> None:
    names = sys.argv[1:]
    rooms.die_with_parent()
    for name in names:
        if name in ANYWHERE:
            _say(name, ANYWHERE[name])
    if USER in names:
        rooms.forked(lambda: _say(USER, _enter_user))
        if os.geteuid() == 0:
            rooms.forked(lambda: _say(ORDINARY_USER, _enter_ordinary_user))
    inside = [name for name in names if name in ROOMS or name in IN_NAMESPACE]
    # Root without the right to make one (a container) may still have it inside a user namespace of its own.
    if inside and rooms.forked(lambda: _try_in_room(inside, user=False)):
        rooms.forked(lambda: _try_in_room(inside, user=True))


def _enter_user() -> str:
    rooms.enter_user()
    rooms.enter_network()  # as with AppArmor, which lets the first be made, and then nothing inside it
    return "one was made, and a network namespace in it"


def _enter_ordinary_user() -> str:
    rooms.become_ordinary()
    return _enter_user()


def _try_in_room(names: Iterable[str], *, user: bool) -> None:
    """Raises if the room cannot be had and there is another way to try."""
    try:
        if user:
            rooms.enter_user()
        rooms.enter_network()
    except OSError as error:
        if not user:
            raise SystemExit(1) from error
        for name in names:
            _report(name, "no" if name in ROOMS else "untried", *_why(error))
        return
    how = "in a user namespace" if user else "as root"
    for name in names:
        if name == "network-namespace":
            _report(name, "yes", f"made {how}")
        elif name in ROOMS:
            _say(name, lambda name=name: ROOMS[name]() or f"made {how}")  # type: ignore[misc]
        else:
            _say(name, IN_NAMESPACE[name])


def _say(name: str, attempt: Attempt) -> None:
    try:
        seen = attempt()
    except OSError as error:
        _report(name, "no", *_why(error))
    except Exception as error:  # whatever it is, the others are to be tried
        _report(name, "no", f"{type(error).__name__}: {error}")
    else:
        limited = seen.startswith(LIMITED)
        _report(name, "limited" if limited else "yes", seen.removeprefix(LIMITED))


def _why(error: OSError) -> tuple[str, int, str]:
    step = error.step if isinstance(error, rooms.Step) else str(error.filename or "")
    text = error.strerror or str(error)
    return (f"{step}: {text}" if step else text), error.errno or 0, step


def _report(name: str, state: str, detail: str, code: int = 0, step: str = "") -> None:
    print(json.dumps([name, state, detail, code, step]), flush=True)
