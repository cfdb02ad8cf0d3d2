"""Starts programs in namespaces, and makes sure that none of them outlives this process, however that ends.

A child of ours is the first process of a PID namespace and does the forking. When it dies the kernel kills everything
in there, whatever sessions and orphans there are; and it dies with us. It has neither trio nor threads, so it may do
what must be done between fork and exec.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgpack
import trio

from scenarios.fabric.netns.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    die_with_parent,
    mount,
    setns,
    unshare,
)

REQUEST_LIMIT = 128 << 10
"""Bytes of arguments, environment and names in one request."""

CANNOT_START = 127
"""Exit code of a program that could not be started, as shells have it; why is on its standard error."""

_FDS = 4  # of a request: the namespace, standard input, output and error


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

    def __init__(self) -> None:
        """Fork. The present namespaces but that of processes are kept."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                ours.close()
                _first_process(theirs)
            finally:
                os._exit(1)
        theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._programs: dict[int, Program] = {}
        self._numbers = 0

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
        ValueError if all of that is too long.
        """
        self._numbers += 1
        request = msgpack.packb(
            ["start", self._numbers, list(argv), dict(env), str(cwd), dict(files or {}), run], use_bin_type=True
        )
        if len(request) > REQUEST_LIMIT:
            raise ValueError(f"{argv[0]}: arguments and environment have more than {REQUEST_LIMIT} bytes")
        fds = array.array("i", [namespace, stdin, stdout, stderr])
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * REQUEST_LIMIT)
        self._socket.setblocking(True)
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
        """Kill everything that was started, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._socket.close()


# -- the other process


def _first_process(requests: socket.socket) -> NoReturn:
    """Become the first process of a new PID namespace and serve; it and its parent die with each other."""
    signal.set_wakeup_fd(-1)  # that of the runner's event loop
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the runner, which ends us in its own time
    _close_inherited(keep={0, 1, 2, requests.fileno()})
    die_with_parent()
    os.setsid()
    unshare(CLONE_NEWPID)
    pid = os.fork()
    if pid:
        requests.close()
        os.waitpid(pid, 0)
        os._exit(0)
    try:
        die_with_parent()
        _serve(requests)
    finally:
        os._exit(0)


def _close_inherited(keep: set[int]) -> None:
    """Sockets and namespaces of the runner must not live on here when it closes them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))


def _serve(requests: socket.socket) -> None:
    pids: dict[int, int] = {}  # of the first process of each program
    ended_read, ended_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    both: list[Any] = [requests, ended_read]
    while True:
        ready, _, _ = select.select(both, [], [])
        if ended_read in ready:
            os.read(ended_read, 4096)
            _reap(pids, requests)
        if requests in ready:
            data, ancillary, _, _ = requests.recvmsg(REQUEST_LIMIT, socket.CMSG_SPACE(4 * _FDS))
            if not data:
                return
            fds = array.array("i")
            for _, _, body in ancillary:
                fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
            what, number, *rest = msgpack.unpackb(data)
            if what == "start":
                pid = os.fork()
                if pid == 0:
                    _become(fds, *rest)
                pids[pid] = number
            else:
                for pid, known in pids.items():
                    if known == number:
                        with suppress(OSError):
                            os.killpg(pid, rest[0])
            for fd in fds:
                os.close(fd)


def _reap(pids: dict[int, int], requests: socket.socket) -> None:
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        if ended.si_pid in pids:
            with suppress(OSError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # while nobody else can have its number
        pid, status = os.waitpid(ended.si_pid, 0)
        number = pids.pop(pid, None)
        if number is not None:  # else an orphan, whose end is nobody's business
            requests.send(msgpack.packb([number, os.waitstatus_to_exitcode(status)]))


def _become(
    fds: Sequence[int], argv: list[str], env: dict[str, str], cwd: str, files: dict[str, str], run: str
) -> NoReturn:
    """In the child: the program, in its namespaces."""
    namespace, stdin, stdout, stderr = fds
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        setns(namespace, CLONE_NEWNET)
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        # Control sockets of two programs there do not meet.
        if run:
            mount(run, "/run", "", MS_BIND)
        else:
            mount("tmpfs", "/run", "tmpfs")
        _cover(files)
        for fd, place in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(fd, place)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - the file names the program
    except BaseException as error:
        words: Any = error.strerror if isinstance(error, OSError) else error
        with suppress(OSError):
            os.write(stderr, f"{argv[0]}: {words}\n".encode())
    finally:
        sys.stderr = None  # nothing of ours is to be said here
        os._exit(CANNOT_START)


def _cover(files: Mapping[str, str]) -> None:
    """Put `files` over those of the machine, for this program alone."""
    for number, (path, text) in enumerate(files.items()):
        target = Path(path).resolve()
        if target.parent == Path("/run"):
            with open(target, "x", opener=_private) as file:
                file.write(text)
        elif target.exists():
            own = Path("/run", f"poplab-{number}")
            own.write_text(text)
            own.chmod(0o644)
            mount(str(own), str(target), "", MS_BIND)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
