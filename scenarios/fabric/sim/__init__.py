"""The deterministic fabric: virtual time, no sockets."""

from scenarios.fabric.sim.clock import VirtualClock
from scenarios.fabric.sim.network import Sim, SimNetwork

__all__ = ["Sim", "SimNetwork", "VirtualClock"]
