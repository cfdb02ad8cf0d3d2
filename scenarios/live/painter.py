"""The process that draws: the world's own process must not lose milliseconds to it, its voice calls would jitter.

It is forked before the world exists, gets whole records over a socket, and ends when the socket does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import msgspec
from rich.console import Console
from rich.live import Live

from scenarios.live.screen import SPARKS, screen
from scenarios.report import RunRecord

MAX_FRAME = 1 << 20
SEND_BUFFER = 1 << 20
MOST_CALLS, MOST_FAULTS = 200, 50
"""More is not drawn while it goes on."""


class Painter:
    """The drawing process as its parent sees it. Frames that it has no time for are skipped."""

    def __init__(self, console: Console) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sys.stdout.flush()
        sys.stderr.flush()
        self._child = os.fork()
        if self._child == 0:
            status = 1
            try:
                self._socket.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent drains first, and we draw that too
                paint(theirs, console)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def show(self, run: RunRecord) -> None:
        """Draw `run` as it is now, if the painter can keep up."""
        replace = msgspec.structs.replace
        slim = replace(
            run,
            steps=[replace(step, results={}) for step in run.steps],
            calls=[
                replace(call, directions=[replace(each, windows=[]) for each in call.directions])
                for call in run.calls[-MOST_CALLS:]
            ],
            faults=run.faults[-MOST_FAULTS:],
            samples=run.samples[-SPARKS:],
        )
        try:
            self._socket.send(msgspec.json.encode(slim, enc_hook=float))
        except OSError:
            return  # it is behind, or gone; the verdict is printed all the same

    def close(self) -> None:
        """End the drawing and give the terminal back."""
        if self._child:
            self._socket.close()
            os.waitpid(self._child, 0)
            self._child = 0


def paint(frames: socket.socket, console: Console) -> None:
    """Draw each frame until there are no more; leaves the screen as it was."""
    decoder = msgspec.json.Decoder(RunRecord)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while data := frames.recv(MAX_FRAME):
            run = decoder.decode(data)
            live.update(screen(run, width=console.width, height=console.height), refresh=True)
