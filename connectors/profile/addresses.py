"""Which addresses an end may have, and what they take."""

from __future__ import annotations

from connectors.proto.interface_plan import HostAddress

LEAST_IPV6_MTU = 1280
"""RFC 8200 section 5: below, the kernel gives an interface no IPv6."""


def fault(address: HostAddress, mtu: int) -> str:
    """Why an interface with `mtu` octets cannot have `address`, or the empty string."""
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        return f"{address} cannot be an address in a virtual network"
    if address.version == 6 and mtu < LEAST_IPV6_MTU:
        return f"{address} is IPv6, which needs an MTU of {LEAST_IPV6_MTU}, and this is {mtu}"
    return ""
