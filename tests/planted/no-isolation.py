"""The first network that has an address gets the packets of every network for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.proto.forwarding import Forwarder
from edge.server.engine import Engine


def plant(put: Callable[[Any, str, Any], None]) -> None:
    make, settle = Engine.__init__, Forwarder._settle

    def make_and_mix(engine: Engine, *arguments: Any, **more: Any) -> None:
        make(engine, *arguments, **more)
        for vnet in engine.pop.vnets.values():
            vnet.all = list(engine.pop.vnets.values())  # type: ignore[attr-defined]

    def wrongly(vnet: Any, entry: Any) -> bool:
        settled = settle(vnet, entry)
        if settled and entry.forward.egress is not None:
            owners = (each.owner(entry.key[3]) for each in vnet.all)
            entry.forward.egress = next(owner.egress for owner in owners if owner is not None)
        return settled

    put(Engine, "__init__", make_and_mix)
    put(Forwarder, "_settle", staticmethod(wrongly))
