"""Where a world runs."""

from collections.abc import Mapping
from types import MappingProxyType

from scenarios.fabric.base import Fabric, Network
from scenarios.fabric.loopback import Loopback

FABRICS: Mapping[str, Fabric] = MappingProxyType({fabric.name: fabric for fabric in (Loopback(),)})
"""Every fabric by the word after ``--fabric``; they hold no state."""

__all__ = ["FABRICS", "Fabric", "Loopback", "Network"]
