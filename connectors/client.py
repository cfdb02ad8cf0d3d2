"""A user's client: one device with an address of its own in the virtual network."""

from __future__ import annotations

from connectors.endpoint import Endpoint


class Client(Endpoint):
    """An endpoint whose side is the device itself (a host with the device address)."""
