"""The first process of a PID namespace: it starts the programs of a `Spawner`, and says how they ended.

It has neither trio nor threads, so it may do what must be done between fork and exec.
"""

from __future__ import annotations

import array
import gc
import os
import resource
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgpack

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

HELLO = 0
"""The number that no program has: what comes under it is the process id of the first process, or minus an error."""

_FDS = 4  # of a request: the namespace, standard input, output and error
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_RUN = Path("/run")


def be_first_process(requests: socket.socket, parent: int, open_files: int | None) -> NoReturn:
    """In a child of `parent`: make a PID namespace and serve in it; all of them die with each other.

    It has an empty network, and sees the parent's mounts as they are now.
    """
    gc.disable()  # files of the parent that it finds unused would be closed by numbers which are those of others now
    signal.set_wakeup_fd(-1)  # that of the parent's event loop
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in its own time
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    _close_inherited(keep={0, 1, 2, requests.fileno()})
    os.setsid()
    try:
        # Programs can enter whatever the first process is in (nsenter -t 1): not the machine's network and mounts.
        unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        pid = os.fork()
    except OSError as error:
        requests.send(msgpack.packb([HELLO, -(error.errno or 1)]))
        os._exit(1)
    if pid:
        requests.send(msgpack.packb([HELLO, pid]))
        requests.close()
        os.waitpid(pid, 0)
        os._exit(0)
    try:
        die_with_parent()
        _serve(requests, open_files)
    finally:
        os._exit(0)


def _close_inherited(keep: set[int]) -> None:
    """Sockets and namespaces of the parent must not live on here when it closes them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))
    while (
        filler := os.open(os.devnull, os.O_RDWR)
    ) <= 2:  # a standard stream that was closed is nothing else's
        os.set_inheritable(filler, True)
    os.close(filler)


def _serve(requests: socket.socket, open_files: int | None) -> None:
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
            data, ancillary, _, _ = requests.recvmsg(REQUEST_LIMIT, socket.CMSG_SPACE(4 * _FDS), _CLOEXEC)
            if not data:
                return
            fds = array.array("i")
            for _, _, body in ancillary:
                fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
            what, number, *rest = msgpack.unpackb(data)
            if what == "start":
                try:
                    pids[_fork(fds, open_files, *rest)] = number
                except OSError as error:
                    _say(fds[-1], f"{rest[0][0]}: no process for it: {error.strerror}")
                    requests.send(msgpack.packb([number, CANNOT_START]))
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


def _fork(fds: Sequence[int], open_files: int | None, *rest: Any) -> int:
    """The process id of a new program, which signals reach from now on. OSError."""
    at_home, in_child = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _become(in_child, fds, open_files, *rest)
        os.close(in_child)
        in_child = -1
        os.read(at_home, 1)  # nothing comes if it dies first
        return pid
    finally:
        os.close(at_home)
        if in_child >= 0:
            os.close(in_child)


def _become(
    begun: int,
    fds: Sequence[int],
    open_files: int | None,
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    files: dict[str, str],
    run: str,
) -> NoReturn:
    """In the child: the program, in its namespaces."""
    stderr = fds[-1] if fds else 2
    lacks = "no namespaces of its own: "
    try:
        os.setsid()
        _forget_signals()
        os.write(begun, b".")
        namespace, stdin, stdout, stderr = fds
        setns(namespace, CLONE_NEWNET)
        _own_view(cwd, run)
        _cover(files)
        for fd, place in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(fd, place)
        if open_files is not None:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
        os.chdir(cwd)
        lacks = ""
        os.execvpe(argv[0], argv, env)  # noqa: S606 - the file names the program
    except BaseException as error:
        words: Any = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, OSError) and error.filename == cwd:
            lacks = f"its working folder {cwd} cannot be entered: "
        _say(stderr, f"{argv[0]}: {lacks}{words}")
    finally:
        os._exit(CANNOT_START)


def _say(fd: int, text: str) -> None:
    with suppress(OSError):
        os.write(fd, f"{text}\n".encode())


def _forget_signals() -> None:
    """What Python and we have done to them, no program expects."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)


def _own_view(cwd: str, run: str) -> None:
    """Mounts that nobody else sees: control sockets of two do not meet, and /proc and /sys are of its machine.

    `run` is what it has as /run, in the place of an empty folder. A container may forbid the latter two; then they are
    those of the runner.
    """
    unshare(CLONE_NEWNS)
    work = os.open(cwd, os.O_PATH | os.O_CLOEXEC)
    if run:
        mount(run, str(_RUN), "", MS_BIND)
    else:
        mount("tmpfs", str(_RUN), "tmpfs")
    if Path(cwd).is_relative_to(_RUN.resolve()):
        os.makedirs(cwd)
        mount(f"/proc/self/fd/{work}", cwd, "", MS_BIND)
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
        with suppress(OSError):
            mount(kind, target, kind)


def _cover(files: Mapping[str, str]) -> None:
    """Put `files` over those of the machine, for this program alone."""
    for number, (path, text) in enumerate(files.items()):
        target = Path(path).resolve()
        if target.is_relative_to(_RUN.resolve()):  # which is nobody else's
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, text, mode=0o600)
        elif target.exists():
            own = _RUN / f"poplab-{number}"
            _write(own, text, mode=0o644)
            mount(str(own), str(target), "", MS_BIND)


def _write(file: Path, text: str, *, mode: int) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
