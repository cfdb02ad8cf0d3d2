"""Packets that a rule blocks are counted nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from edge.proto.forwarding.vnet import VirtualNetwork
from edge.proto.types import DropReason


class _Forgetful(Counter[DropReason]):
    def __setitem__(self, reason: DropReason, count: int) -> None:
        if reason is not DropReason.POLICY_BLOCKED:
            super().__setitem__(reason, count)


def plant(put: Callable[[Any, str, Any], None]) -> None:
    make = VirtualNetwork.__init__

    def forgetful(vnet: VirtualNetwork, *arguments: Any, **more: Any) -> None:
        make(vnet, *arguments, **more)
        vnet.drops = _Forgetful()

    put(VirtualNetwork, "__init__", forgetful)
