"""Why an address could not be had, and what to do about it."""

from __future__ import annotations

import errno
from typing import Literal

from edge.errors import Refused
from edge.proto.types import Address


def refusal(error: OSError, transport: Literal["tcp", "udp"], address: Address, setting: str = "") -> Refused:
    """`setting` is where the address was chosen: words such as "`listen.masque`"."""
    within = f" in {setting}" if setting else ""
    where = f"{transport} {address[0]}:{address[1]}"
    if error.errno == errno.EADDRINUSE:
        return Refused(
            f"{where}: the port is taken by another process\n"
            f"    fix: choose another port{within}, or see who has it:  ss -{transport[0]}lpn 'sport = :{address[1]}'"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Refused(
            f"{where}: this machine does not have that address\n"
            f"    fix: one of  ip -brief address{within and f' {within}'}"
        )
    if error.errno == errno.EACCES:
        return Refused(
            f"{where}: ports below 1024 need privilege\n    fix: choose a port from 1024 up{within}"
        )
    return Refused(f"{where}: {error.strerror}")
