"""The metrics page: ``GET /metrics`` over plain HTTP/1.1, on loopback unless configured otherwise.

h11 parses; each connection answers one request and has a deadline, so a slow reader holds one slot for seconds, not
the PoP.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import h11
import trio

from edge.errors import Refused
from edge.metrics import CONTENT_TYPE, Snapshot, exposition, registry
from edge.proto.types import Address

REQUEST_DEADLINE = 5.0  # seconds for the whole exchange
MAX_CONNECTIONS = 16
MAX_REQUEST = 8192
PATH = b"/metrics"


class Exporter:
    """Serves what `snapshot` gives, read at the moment of the scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._open = 0

    async def run(
        self, address: Address, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve on `address` until cancelled; started with the bound address."""
        try:
            listeners = await trio.open_tcp_listeners(address[1], host=address[0])
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise Refused(
                f"metrics {address[0]}:{address[1]}: {'the port is taken' if taken else error.strerror}\n"
                "    fix: choose another address in listen.metrics, or null to have no metrics page"
            ) from error
        bound = listeners[0].socket.getsockname()[:2]
        async with trio.open_nursery() as nursery:
            task_status.started(bound)
            await trio.serve_listeners(self._serve, listeners, handler_nursery=nursery)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._open >= MAX_CONNECTIONS:
            await stream.aclose()
            return
        self._open += 1
        try:
            with trio.move_on_after(REQUEST_DEADLINE):
                await self._exchange(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader went away
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)

    async def _exchange(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        try:
            request: Any = h11.NEED_DATA
            while request is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(MAX_REQUEST))
                request = connection.next_event()
        except h11.RemoteProtocolError as error:
            await self._answer(stream, connection, error.error_status_hint, b"bad request\n")
            return
        if not isinstance(request, h11.Request):
            return
        head = request.method == b"HEAD"
        if request.method not in (b"GET", b"HEAD"):
            await self._answer(stream, connection, 405, b"only GET and HEAD\n")
        elif request.target.partition(b"?")[0] != PATH:
            await self._answer(stream, connection, 404, b"the metrics are at /metrics\n", head=head)
        else:
            body = await self._page()
            await self._answer(stream, connection, 200, body, CONTENT_TYPE, head=head)

    async def _page(self) -> bytes:
        """The snapshot is of one instant; writing it out takes long with many tunnels, and that a thread can do."""
        now = self._snapshot()
        return await trio.to_thread.run_sync(lambda: exposition(registry(lambda: now)))

    @staticmethod
    async def _answer(
        stream: trio.SocketStream,
        connection: h11.Connection,
        status: int,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        *,
        head: bool = False,
    ) -> None:
        headers = [("content-type", kind), ("content-length", str(len(body))), ("connection", "close")]
        if status == 405:
            headers.append(("allow", "GET, HEAD"))  # RFC 9110 section 15.5.6
        answer = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        if not head:  # RFC 9110 section 9.3.2: the length is told, the content is not sent
            answer += connection.send(h11.Data(data=body)) or b""
        await stream.send_all(answer)
        # Closing on a request body that nobody read is a reset, and that can take the answer with it.
        await stream.send_eof()
        while await stream.receive_some(MAX_REQUEST):
            pass
