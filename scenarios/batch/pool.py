"""Runs in processes of their own, as many at once as there is room for.

Each is forked from here with its script in memory, draws nothing, and sends lines: how far it is, and its record.
This process runs no world itself, it only waits; so it needs neither trio nor threads, and forking is safe.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import IO, Any

import msgspec

from edge.errors import FabricUnavailable
from scenarios.batch.attempt import Job, attempt
from scenarios.batch.board import Board, Progress
from scenarios.batch.interrupts import hear_no_more_hangups, interrupts, leave_terminal
from scenarios.batch.queue import Queue, cores
from scenarios.report import RunRecord, State, StepRecord

OUTLIVE = 15.0
"""Seconds for a run to end by itself when its parent is gone."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at the board if nobody says anything."""

TAIL = 30
"""Lines of what a process that died wrote to stderr."""
TAIL_BYTES = 65536
CHUNK = 1 << 16

_RECORD, _PROGRESS = b"R", b"P"


class Pool:
    """Runs all jobs; one for each command. `at_once`: so many, else as in ``Queue``."""

    def __init__(self, jobs: Sequence[Job], board: Board, *, at_once: int | None = None) -> None:
        self._jobs = jobs
        self._board = board
        self._waiting = Queue(jobs, cores=cores(), at_once=at_once)
        self._children: dict[int, _Child] = {}
        self._records: dict[int, RunRecord] = {}
        self._selector = selectors.DefaultSelector()
        self._alive = os.pipe()
        self._interrupts = 0
        self._hung_up = False
        self._told = 0

    def run(self) -> list[RunRecord]:
        """A record for each job, in their order. Ctrl-C drains what runs; a second one kills it."""
        before = {number: signal.signal(number, self._interrupted) for number in interrupts()}
        self._board.begin(self._jobs)
        try:
            self._loop()
        finally:
            for child in self._children.values():
                child.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._hung_up:
                hear_no_more_hangups()
            self._selector.close()
            for descriptor in self._alive:
                os.close(descriptor)
            records = [self._records[index] for index in sorted(self._records)]
            self._board.end(records)
        return records

    def _loop(self) -> None:
        while self._waiting or self._children:
            self._pass_on_interrupts()
            while (index := self._waiting.take(self._children)) is not None:
                self._start(index)
            for key, _ in self._selector.select(LOOK_AGAIN):
                self._hear(key.data)
            self._board.tick()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # the shell and the kernel tell of the same terminal
            leave_terminal()
            self._hung_up = True
            self._interrupts = max(1, self._interrupts)
        else:
            self._interrupts += 1

    def _pass_on_interrupts(self) -> None:
        if self._told == self._interrupts:
            return
        self._told = self._interrupts
        for index in self._waiting.empty():
            self._end(index, self._jobs[index].record(State.INTERRUPTED, "interrupted before it began"))
        for child in self._children.values():
            child.kill() if self._told > 1 else child.interrupt()

    def _start(self, index: int) -> None:
        job = self._jobs[index]
        if job.fabric is None:
            self._end(index, job.record(State.SKIPPED, job.reason))
            return
        child = _Child(index, job, self._alive, list(self._children.values()), self._selector)
        self._children[index] = child
        self._selector.register(child.stream, selectors.EVENT_READ, child)
        self._board.started(index)

    def _hear(self, child: _Child) -> None:
        for line in child.lines():
            if line.startswith(_PROGRESS):
                self._board.progress(child.index, msgspec.json.decode(line[1:], type=Progress))
            else:
                child.record = msgspec.json.decode(line[1:], type=RunRecord)
        if child.ended:
            self._selector.unregister(child.stream)
            del self._children[child.index]
            self._end(child.index, child.outcome(killed=self._told > 1))

    def _end(self, index: int, record: RunRecord) -> None:
        self._records[index] = record
        self._board.ended(index, record)


class _Child:
    """A process that runs one job, as its parent sees it."""

    def __init__(
        self,
        index: int,
        job: Job,
        alive: tuple[int, int],
        others: list[_Child],
        selector: selectors.BaseSelector,
    ) -> None:
        self.index = index
        self.stream = -1
        self.record: RunRecord | None = None
        self.ended = False
        self._job = job
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `outcome`
        self._left = b""
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # What comes before the child listens must not get lost: neither in our handler nor as an exception somewhere.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts())
        self._process = os.fork()
        if self._process == 0:
            for descriptor in (reading, alive[1], *(other.stream for other in others)):
                os.close(descriptor)
            selector.close()
            _be_child(job, writing, alive[0], self._errors)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)
        self.stream = reading

    def lines(self) -> Iterator[bytes]:
        """What it said, whole lines."""
        data = os.read(self.stream, CHUNK)
        if not data:
            self.ended = True
        *whole, self._left = (self._left + data).split(b"\n")
        yield from whole

    def interrupt(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGINT)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)

    def outcome(self, *, killed: bool) -> RunRecord:
        """Its record, or one that says how it died."""
        os.close(self.stream)
        _, status = os.waitpid(self._process, 0)
        tail = self._tail()
        self._errors.close()
        if self.record is not None:
            return self.record
        if killed:
            return self._job.record(State.INTERRUPTED, "interrupted and killed before it had drained")
        code = os.waitstatus_to_exitcode(status)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with {code}"
        lines = [*tail, f"the process of this run died: {how}"]
        return self._job.record(State.ERROR, "\n".join(lines))

    def _tail(self) -> list[str]:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - TAIL_BYTES))
        return self._errors.read().decode(errors="replace").splitlines()[-TAIL:]


# -- in the child


def _be_child(job: Job, writing: int, alive: int, errors: IO[bytes]) -> None:
    """Never returns. Signals that interrupt are blocked until the run listens to them."""
    status = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (each for each in interrupts() if each != signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(errors.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        sys.stdout = sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115 - until the end
        teller = _Teller(writing)
        try:
            refusal = _prepare(job)
            threading.Thread(target=_outlive_nobody, args=(alive,), daemon=True).start()
            record = attempt(job, teller) if refusal is None else job.record(State.UNAVAILABLE, refusal)
        except KeyboardInterrupt:
            record = job.record(State.INTERRUPTED, "interrupted before it began")
        teller.tell(_RECORD, record)
        status = 0
    except BaseException:  # whatever it is, the parent shows it
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _prepare(job: Job) -> str | None:
    """Why the fabric cannot be had; None if it can."""
    try:
        if job.fabric is not None:
            job.fabric.prepare()
    except FabricUnavailable as error:
        return str(error)
    return None


def _outlive_nobody(alive: int) -> None:
    """A parent that is gone wants no more runs."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(OUTLIVE)
    os.kill(os.getpid(), signal.SIGKILL)


class _Teller:
    """An observer that says how far the run is."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._last = 0.0

    def tell(self, kind: bytes, what: Any) -> None:
        data = memoryview(kind + msgspec.json.encode(what, enc_hook=float) + b"\n")
        while data:
            data = data[os.write(self._stream, data) :]

    def started(self, run: RunRecord) -> None:
        self._progress(run)

    def step_started(self, run: RunRecord, step: StepRecord) -> None:
        """The next tick says it."""

    def step_ended(self, run: RunRecord, step: StepRecord) -> None:
        """The next tick says it."""

    def tick(self, run: RunRecord) -> None:
        now = time.monotonic()
        if now - self._last >= LOOK_AGAIN:
            self._last = now
            self._progress(run)

    def ended(self, run: RunRecord) -> None:
        """The record follows."""

    def _progress(self, run: RunRecord) -> None:
        running = [step for step in run.steps if step.state is State.RUNNING]
        step = next((each for each in running if not each.background), running[-1] if running else None)
        done = sum(each.state not in (State.PENDING, State.RUNNING) for each in run.steps)
        doing = "" if step is None else f"{step.name}: {step.waiting}" if step.waiting else step.name
        self.tell(_PROGRESS, Progress(run.elapsed, run.wall, done, len(run.steps), doing))
