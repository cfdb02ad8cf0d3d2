"""Real kernels: each machine of a world is a network namespace of Linux, held by descriptor and gone with us."""

from scenarios.fabric.netns.fabric import Netns

__all__ = ["Netns"]
