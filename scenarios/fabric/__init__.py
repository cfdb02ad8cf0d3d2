"""Where a world runs."""

from collections.abc import Mapping
from types import MappingProxyType

from scenarios.fabric.absent import Absent
from scenarios.fabric.base import EDGE, Agent, Fabric, FarEndEnded, Network, Place, Started, WayChange
from scenarios.fabric.door import Door
from scenarios.fabric.loopback import Loopback
from scenarios.fabric.netns import Netns
from scenarios.fabric.sim import Sim

FABRICS: Mapping[str, Fabric] = MappingProxyType(
    {fabric.name: fabric for fabric in (Sim(), Loopback(), Netns())}
)
"""Every fabric by the word after ``--fabric``; they hold no state."""


def named(name: str) -> Fabric:
    """The fabric that a checked file calls so, be it one that is not here."""
    return FABRICS.get(name) or Absent(name)


__all__ = [
    "EDGE",
    "FABRICS",
    "Agent",
    "Door",
    "Fabric",
    "FarEndEnded",
    "Loopback",
    "Netns",
    "Network",
    "Place",
    "Sim",
    "Started",
    "WayChange",
    "named",
]
