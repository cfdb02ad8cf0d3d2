"""After a restart the PoP believes what it saved, and follows no peer that has moved meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.proto.wireguard.device import Device
from edge.server.engine import Engine


def plant(put: Callable[[Any, str, Any], None]) -> None:
    make, move = Engine.__init__, Device._move

    def make_and_remember(engine: Engine, *arguments: Any, **more: Any) -> None:
        make(engine, *arguments, **more)
        known = engine.pop.device.tunnels.values()
        engine.pop.device.believed = {link.name for link in known if link.endpoint is not None}  # type: ignore[attr-defined]

    def follow(device: Device, tunnel: Any, source: Any) -> None:
        if tunnel.name not in getattr(device, "believed", ()):
            move(device, tunnel, source)

    put(Engine, "__init__", make_and_remember)
    put(Device, "_move", follow)
