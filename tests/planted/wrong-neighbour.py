"""What is for a client goes to the next client of its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.config import Kind
from edge.proto.forwarding import Forwarder


def plant(put: Callable[[Any, str, Any], None]) -> None:
    settle = Forwarder._settle

    def wrongly(vnet: Any, entry: Any) -> bool:
        settled = settle(vnet, entry)
        clients = [each for each in vnet.attachments.values() if each.party.kind == Kind.CLIENT.value]
        if settled and entry.reverse.egress in clients:
            entry.reverse.egress = clients[(clients.index(entry.reverse.egress) + 1) % len(clients)]
        return settled

    put(Forwarder, "_settle", staticmethod(wrongly))
