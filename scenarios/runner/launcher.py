"""How programs come to run in a world: on which machine, in which folder, and that none of them outlives it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from scenarios.checks import Plain, Secret
from scenarios.fabric import Network, Place
from scenarios.fabric.process import Process
from scenarios.proto.program_output import ProgramOutput
from scenarios.runner.lazy import Lazy
from scenarios.runner.placeholders import filled
from scenarios.runner.program_log import ProgramLog
from scenarios.runner.workshop import Workshop
from scenarios.schema.programs import ExecRun, Program
from scenarios.world import World

MARK = "POPLAB_WORLD"
"""The variable by which everything that belongs to a world is known, however it was started."""

GRACE = 2.0
"""Seconds that programs get to end when the world does."""

LOGS = "programs"
"""The folder of what programs wrote, in that of the reports."""


class NotStarted(Exception):
    """A program could not be started; the text says why."""


class Launcher:
    """Of one world. `given` is everything that placeholders can ask for."""

    def __init__(self, world: World, network: Network, given: Callable[[], Mapping[str, Plain]]) -> None:
        self.now = network.now
        self.incomplete: list[str] = []
        """What the logs lack, and why."""
        self._world = world
        self._network = network
        self._given = given
        self._mark = secrets.token_hex(16)
        self._handed_out: dict[bytes, None] = {}
        """Passwords that programs were given."""
        self._workshops: dict[str, Workshop] = {}
        self._processes: dict[Process, None] = {}
        self._logs: dict[str, ProgramLog] = {}
        self._reports: Path | None = None
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def at_work(self, reports: Path | None) -> AsyncIterator[None]:
        """Programs can run in the block, and none does after it. What they write goes to `reports` as well.

        So does what the agents of tunnels write, which the fabric starts and ends.
        """
        self._reports = reports
        for agent in self._network.agents:
            log = self._log(agent.name, agent.program)
            log.write(agent.output.text("output").encode())
            agent.output.on_data = log.write
        if all(self._network.place(name) is None for name in self._world.members):
            try:
                yield
            finally:
                self._close_logs()
            return
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    yield
                finally:
                    await self.end_all()
                    nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            _end_strays(f"{MARK}={self._mark}".encode())
            for workshop in self._workshops.values():
                workshop.close()

    async def end_all(self) -> None:
        """Whatever runs is asked to end, and killed if it does not."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for process in list(self._processes):
                    nursery.start_soon(self._end, process)
        self._close_logs()

    def _close_logs(self) -> None:
        for log in self._logs.values():
            log.close()
        self.incomplete = [log.complaint for log in self._logs.values() if log.complaint]

    async def _end(self, process: Process) -> None:
        await process.end(grace=GRACE)

    def attend(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run an async function beside the programs."""
        assert self._nursery is not None
        self._nursery.start_soon(task)

    def start(self, host: str, given: Program | ExecRun, output: ProgramOutput, *, label: str) -> Process:
        """What `given` says, on `host`; NotStarted if that is impossible, ExpressionError for a placeholder."""
        self._place(host)
        output.hidden = self._handed_out
        workshop, names = self._workshop(host), self._names(host)
        try:
            workshop.put(given.files, names)
        except OSError as error:
            what = error.filename or "its files"
            raise NotStarted(f"cannot write {what} for it: {error.strerror or error}") from error
        except UnicodeEncodeError as error:  # in an old locale
            raise NotStarted(f"no file can be called {error.object!r} here: {error}") from error
        if not isinstance(given, ExecRun):
            if output.on_data is None:  # one log for all of its starts
                output.on_data = self._log(host, label).write
            return self.begin(host, given.run, output, env=given.env)
        stdin = filled(given.stdin, names).encode()
        log = self._log(host, label)
        output.on_data = log.write
        process = self.begin(host, given.run, output, env=given.env, stdin=stdin)
        self.attend(lambda: _close_after(process, log))  # thousands of steps have not thousands of open files
        return process

    def begin(
        self,
        host: str,
        argv: Sequence[str],
        output: ProgramOutput,
        *,
        env: Mapping[str, str],
        stdin: bytes = b"",
    ) -> Process:
        """A program in the working folder of `host`, and nothing more; the same errors."""
        place = self._place(host)
        workshop, names = self._workshop(host), self._names(host)
        try:
            process = Process(
                place,
                [filled(word, names) for word in argv],
                env=workshop.environment(
                    {name: filled(text, names) for name, text in env.items()}, {MARK: self._mark}
                ),
                cwd=str(workshop.folder),
                stdin=stdin,
                output=output,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise NotStarted(f"cannot start {argv[0]}: {reason}") from error
        self._processes[process] = None
        self.attend(lambda: self._run(process))
        return process

    async def _run(self, process: Process) -> None:
        await process.run()
        del self._processes[process]

    def _place(self, host: str) -> Place:
        place = self._network.place(host)
        if place is None or self._nursery is None:
            raise NotStarted(f"{host} is no real machine on this fabric; use netns")
        return place

    def _workshop(self, host: str) -> Workshop:
        if host not in self._workshops:
            try:
                self._workshops[host] = Workshop(host, self._world.script.file)
            except OSError as error:
                raise NotStarted(f"no working folder can be made: {error.strerror or error}") from error
        return self._workshops[host]

    def _names(self, host: str) -> Mapping[str, Plain]:
        given = self._given()
        members = self._world.members
        pbxs = [name for name, member in members.items() if member.pbx is not None]
        own: dict[str, Plain] = {
            "dir": str(self._workshop(host).folder),
            "seed": self._world.seed,
            "passwords": Lazy(pbxs, lambda name: self._hand_out(members[name].passwords)),
        }
        return Lazy([*given, *own], lambda key: own[key] if key in own else given[key])

    def _hand_out(self, passwords: Mapping[str, str]) -> Plain:
        def one(user: str) -> Plain:
            self._handed_out[passwords[user].encode()] = None
            return Secret(passwords[user])

        return Lazy(passwords, one)

    def _log(self, host: str, label: str) -> ProgramLog:
        number, name = 1, f"{host}.{label}"
        while name in self._logs:
            number += 1
            name = f"{host}.{label}-{number}"
        folder = None if self._reports is None else self._reports / LOGS
        self._logs[name] = log = ProgramLog(folder, name, taken={each.file for each in self._logs.values()})
        return log


async def _close_after(process: Process, log: ProgramLog) -> None:
    await process.ended.wait()
    log.close()


def _end_strays(mark: bytes) -> None:
    """What has left its session and its parents, as daemons do, still has the environment that it was given."""
    for _ in range(3):  # one of them may just be starting another
        found = list(_marked(mark))
        for descriptor in found:
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        if not found:
            return


def _marked(mark: bytes) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                descriptor = os.pidfd_open(int(entry.name))
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield descriptor  # nobody else has got its number meanwhile
                else:
                    os.close(descriptor)
