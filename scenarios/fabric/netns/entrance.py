"""The way of a person with a shell to a machine, which has no name that ``ip netns`` would know."""

from __future__ import annotations

import os
from pathlib import Path

from scenarios.fabric.netns.namespace import Namespace

_OWN = Path("/proc/self")


def entrance(space: Namespace) -> str:
    """What runs a command in `space` if it is put before it, as long as this process lives and holds `space`.

    It is for the user who runs this process, in the namespaces that this one was started in.
    """
    pid = os.getpid()
    # In a user namespace of ours that user has every privilege, but must come in first. That changes nobody's user id
    # (else nsenter would become a user whom such a namespace does not have).
    first = f"--user --preserve-credentials -t {pid} " if _is_in_its_own() else ""
    return f"nsenter {first}--net=/proc/{pid}/fd/{space.fd}"


def _is_in_its_own() -> bool:
    """Whether this process has gone into a user namespace (``become_privileged``), which has a single user."""
    first, *others = (_OWN / "uid_map").read_text().splitlines()
    if others or first.split()[2] != "1":
        return False
    try:  # who has started us may live in such a one already, as after `unshare --map-root-user`
        return not os.path.samefile(f"/proc/{os.getppid()}/ns/user", _OWN / "ns" / "user")
    except OSError:  # what is outside of ours is not for us to see
        return True
