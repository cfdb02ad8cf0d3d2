"""Where devices find this machine."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from edge.document import HostPort
from edge.errors import Refused
from edge.proto.types import Address

DISTANT = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849): the way to the Internet leads there, and nobody is."""


def listening(text: str) -> Address:
    """What `--listen` says. Refused."""
    try:
        return HostPort.parse(text).address
    except ValueError as error:
        raise Refused(
            f"--listen {text}: {error}\n    fix: write ADDRESS:PORT, such as 0.0.0.0:51820"
        ) from error


def endpoint(given: str, listen: Address) -> HostPort:
    """What devices dial: as given, or where they probably reach `listen`. Refused if `given` is nothing to dial."""
    if given:
        try:
            return HostPort.parse(given)
        except ValueError as error:
            raise Refused(f"--endpoint {given}: {error}\n    fix: write HOST:PORT") from error
    host, port = listen
    if ip_address(host).is_unspecified:
        host = outward(socket.AF_INET) or (outward(socket.AF_INET6) if ":" in host else "") or "127.0.0.1"
    return HostPort((host, port))


def outward(family: socket.AddressFamily) -> str:
    """This machine's address on the way to the Internet; empty if it has none. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((DISTANT[family], 9))
        except OSError:
            return ""
        host: str = probe.getsockname()[0]
        return host


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
