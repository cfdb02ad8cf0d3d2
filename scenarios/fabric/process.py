"""One program at work: what it writes is read as it comes, and whatever it started ends with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from signal import SIGKILL, SIGTERM, Signals

import trio

from scenarios.fabric.base import Place, Started
from scenarios.proto.program_output import ProgramOutput, Stream

CHUNK = 1 << 16

LINGER = 1.0
"""Seconds for what is in the pipes when the program has ended; a daemon that it left may hold them open for ever."""

KILLED = 5.0
"""Seconds in which the kernel must have removed what was killed."""


class Process:
    """Begins at once; OSError or ValueError if it cannot. `run` must be a task of somebody until it has ended."""

    def __init__(
        self,
        place: Place,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: bytes = b"",
        output: ProgramOutput,
    ) -> None:
        self.output = output
        self.place = place
        self.ended = trio.Event()
        self._waiting = trio.CancelScope()
        self._stdin = stdin
        self._descriptors: dict[str, int] = {}
        with contextlib.ExitStack() as theirs:
            try:
                self._started = self._start(place, argv, env, cwd, theirs)
            except BaseException:
                self._close()
                raise

    def _start(
        self,
        place: Place,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        theirs: contextlib.ExitStack,
    ) -> Started:
        given: dict[str, int] = {}
        for name in ("stdin", "stdout", "stderr"):
            read, write = os.pipe2(os.O_CLOEXEC)
            ours, given[name] = (write, read) if name == "stdin" else (read, write)
            self._descriptors[name] = ours
            theirs.callback(os.close, given[name])
        return place.start(argv, env=env, cwd=cwd, **given)

    @property
    def alive(self) -> bool:
        return not self.ended.is_set()

    @property
    def code(self) -> int | None:
        """What it ended with; none while it runs, or if a signal ended it."""
        code = self._started.returncode
        return code if code is not None and code >= 0 else None

    @property
    def signal(self) -> str | None:
        """What ended it, such as TERM."""
        code = self._started.returncode
        if self._waiting.cancel_called and code is None:
            return SIGKILL.name.removeprefix("SIG")  # which will, once the kernel can
        if code is None or code >= 0:
            return None
        try:
            return Signals(-code).name.removeprefix("SIG")
        except ValueError:
            return str(-code)

    async def run(self) -> None:
        """Until it has ended and all that it wrote is read. Nobody can cancel it: end the program."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    for name in ("stdout", "stderr"):
                        nursery.start_soon(self._read, name)
                    nursery.start_soon(self._feed)
                    with self._waiting:
                        await self._started.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + LINGER
        finally:
            self._close()
            self.ended.set()

    def send(self, how: Signals) -> None:
        """To it and to everything of its session's first group; nothing if it has ended."""
        if self._started.returncode is None:
            self._started.send_signal(how)

    def kill(self) -> None:
        self.send(SIGKILL)

    async def end(self, how: Signals = SIGTERM, *, grace: float) -> bool:
        """Ask it to end, and kill it if it has not after `grace` seconds; whether it did as it was asked.

        Nobody waits on for what the kernel cannot kill, as while it waits for a dead disk.
        """
        with trio.CancelScope(shield=True):
            self.send(how)
            with trio.move_on_after(grace):
                await self.ended.wait()
                return True
            self.kill()
            with trio.move_on_after(KILLED + LINGER):
                await self.ended.wait()
                return False
            self._waiting.cancel()
            await self.ended.wait()
        return False

    async def _read(self, name: Stream) -> None:
        async with trio.lowlevel.FdStream(self._descriptors.pop(name)) as stream:
            try:
                while data := await stream.receive_some(CHUNK):
                    self.output.add(name, bytes(data))
            finally:
                self.output.end(name)

    async def _feed(self) -> None:
        async with trio.lowlevel.FdStream(self._descriptors.pop("stdin")) as stream:
            with contextlib.suppress(trio.BrokenResourceError):  # it does not want to know
                await stream.send_all(self._stdin)

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
