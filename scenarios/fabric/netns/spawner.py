"""Starts programs in namespaces, and makes sure that none of them outlives this process, however that ends.

The first process of a PID namespace does it for us. When it dies the kernel kills everything in there, whatever
sessions and orphans there are; and it dies with us.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgpack
import trio

from scenarios.fabric.netns.first_process import HELLO, REQUEST_LIMIT, be_first_process

DYING = 10.0
"""Seconds in which the kernel must have removed what was killed, and the first process taken a request."""


class Program:
    """A program that was started. Its standard streams are the files that it was given."""

    def __init__(self, spawner: Spawner, number: int) -> None:
        self._spawner = spawner
        self._number = number
        self._ended = trio.Event()
        self.returncode: int | None = None
        """As in subprocess: negative is a signal; None while it runs."""

    async def wait(self) -> int:
        """Until it has ended; then as `returncode`."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To its whole process group; harmless if it has ended."""
        if self.returncode is None:
            self._spawner.signal(self._number, number)

    def finished(self, code: int) -> None:
        """Its spawner says so."""
        self.returncode = code
        self._ended.set()


class Spawner:
    """Start it before programs are wanted; ``run`` listens to it, ``close`` ends it and everything in there."""

    def __init__(self, *, open_files: int | None = None) -> None:
        """Fork. The present namespaces but that of processes are kept. OSError if there can be no PID namespace.

        Programs may have so many `open_files` (RLIMIT_NOFILE); None: as we do.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                be_first_process(theirs, parent, open_files)
            finally:
                os._exit(1)
        theirs.close()
        try:
            self._first = _greeted(ours)
        except BaseException:
            ours.close()
            os.waitpid(self._pid, 0)
            raise
        ours.setblocking(False)
        self._socket = ours
        self._programs: dict[int, Program] = {}
        self._numbers = HELLO
        self._closed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take note of what has ended, until cancelled."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(REQUEST_LIMIT)
            except ConnectionError:
                data = b""
            if not data:
                for program in self._programs.values():
                    program.finished(-signal.SIGKILL)
                self._programs.clear()
                return
            number, code = msgpack.unpackb(data)
            if number in self._programs:
                self._programs.pop(number).finished(code)

    def start(
        self,
        namespace: int,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int,
        stdout: int,
        stderr: int,
        files: Mapping[str, str] | None = None,
        run: str = "",
    ) -> Program:
        """Start `argv` in the network namespace of that descriptor, in a process group of its own.

        `files` are seen by it alone in place of those of the machine: /etc/resolv.conf and the like, by path; below
        /run they are new. `run` is a folder that it has as /run, in place of an empty one.
        ValueError if all of that is too long, OSError if the first process does not take it.
        """
        self._numbers += 1
        request = msgpack.packb(
            ["start", self._numbers, list(argv), dict(env), str(cwd), dict(files or {}), run],
            use_bin_type=True,
        )
        if len(request) > REQUEST_LIMIT:
            raise ValueError(f"{argv[0]}: arguments and environment have more than {REQUEST_LIMIT} bytes")
        fds = array.array("i", [namespace, stdin, stdout, stderr])
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * REQUEST_LIMIT)
        self._socket.settimeout(DYING)
        try:
            self._socket.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        finally:
            self._socket.setblocking(False)
        program = self._programs[self._numbers] = Program(self, self._numbers)
        return program

    def signal(self, number: int, signum: int) -> None:
        with suppress(OSError):
            self._socket.send(msgpack.packb(["signal", number, int(signum)]))

    def close(self) -> None:
        """Kill everything that was started, and wait until it is gone; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)
        ended = select.poll()
        ended.register(self._first, select.POLLIN)  # the first process of a PID namespace is the last to go
        ended.poll(DYING * 1000)
        os.close(self._first)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._socket.close()


def _greeted(requests: socket.socket) -> int:
    """A descriptor of the first process, once there is one."""
    data = requests.recv(REQUEST_LIMIT)
    if not data:
        raise OSError(0, "the process that starts programs has died")
    _, pid = msgpack.unpackb(data)
    if pid < 0:
        raise OSError(-pid, f"no PID namespace: {os.strerror(-pid)}")
    return os.pidfd_open(pid)
