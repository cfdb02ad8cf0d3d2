"""TCP connections that a far end asks for, one task each, as one source of events."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from edge.io.streams import StreamDial
from edge.proto.types import NEVER, Address, StreamEvent, StreamOutput


class Streams(Protocol):
    """TCP for a far end."""

    def dial(self, number: int, address: Address) -> None:
        """Open connection `number`; an event tells how it went."""

    def receive(self) -> list[StreamEvent]:
        """What has happened since the last call."""

    def send(self, outputs: Iterable[StreamOutput]) -> None: ...

    def poll_timeout(self) -> float:
        """When ``receive`` is worth a call though nothing wakes."""


class Dialer:
    """`wake` is called when there is something to ``receive``; `nursery` runs the connections.

    `make_socket` as in ``StreamDial``.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        wake: Callable[[], None],
        *,
        make_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._nursery = nursery
        self._wake = wake
        self._make_socket = make_socket
        self._dials: dict[int, StreamDial] = {}

    def dial(self, number: int, address: Address) -> None:
        """Open connection `number`; an event tells how it went."""
        dial = StreamDial(address, make_socket=self._make_socket)
        self._dials[number] = dial
        self._nursery.start_soon(self._run, number, dial)

    async def _run(self, number: int, dial: StreamDial) -> None:
        await dial.serve(self._wake)
        self._wake()

    def receive(self) -> list[StreamEvent]:
        """What has happened since the last call."""
        events: list[StreamEvent] = []
        for number, dial in list(self._dials.items()):
            events += [event._replace(connection_id=number) for event in dial.receive()]
            if dial.over:
                del self._dials[number]
        return events

    def send(self, outputs: Iterable[StreamOutput]) -> None:
        for number, data, close in outputs:
            dial = self._dials.get(number)
            if dial is not None:
                dial.send([(1, data, close)])

    def poll_timeout(self) -> float:
        return NEVER
