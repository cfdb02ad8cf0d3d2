"""Once a site has failed over, its packets go to the site of the next network that has the same prefix."""

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
            vnet.others = [other for other in engine.pop.vnets.values() if other is not vnet]  # type: ignore[attr-defined]

    def wrongly(vnet: Any, entry: Any) -> bool:
        settled = settle(vnet, entry)
        if settled and entry.forward.egress is not None and vnet.failovers.total():
            for other in vnet.others:
                owner = other.owner(entry.key[3])
                if owner is not None and owner.egress is not None:
                    entry.forward.egress = owner.egress
        return settled

    put(Engine, "__init__", make_and_mix)
    put(Forwarder, "_settle", staticmethod(wrongly))
