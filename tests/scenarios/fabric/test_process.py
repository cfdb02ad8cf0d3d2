"""One real program: read, fed, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio

from scenarios.fabric.process import LINGER, Process
from scenarios.proto.program_output import ProgramOutput
from tests.scenarios.runner.machines import MISSING, Here, Machines

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def begun(
    *argv: str, stdin: bytes = b"", output: ProgramOutput | None = None, machines: Machines | None = None
) -> Process:
    here = Here() if machines is None else machines.here
    kept = ProgramOutput() if output is None else output
    return Process(here, argv, env={"PATH": os.environ["PATH"]}, cwd="/", stdin=stdin, output=kept)


async def ran(*argv: str, stdin: bytes = b"", output: ProgramOutput | None = None) -> Process:
    process = begun(*argv, stdin=stdin, output=output)
    with trio.fail_after(20):
        await process.run()
    return process


async def test_it_says_what_was_written_and_how_it_ended() -> None:
    process = await ran("sh", "-c", "cat; echo no >&2; exit 3", stdin=b"yes")
    assert (process.output.stdout.text, process.output.stderr.text) == ("yes", "no\n")
    assert (process.code, process.signal, process.alive) == (3, None, False)


async def test_a_signal_is_no_code() -> None:
    process = await ran("sh", "-c", "kill -USR1 $$")
    assert (process.code, process.signal) == (None, "USR1")


async def test_who_does_not_want_its_input_is_left_alone() -> None:
    process = await ran("true", stdin=bytes(1 << 20))
    assert process.code == 0


async def test_no_full_pipe_stalls_it_and_no_memory_is_filled() -> None:
    output = ProgramOutput(1 << 16)
    script = (
        "import sys; [sys.stderr.write('e' * 65536) and sys.stdout.write('o' * 65536) for _ in range(200)]"
    )
    process = await ran(sys.executable, "-c", script, output=output)
    assert process.code == 0
    assert output.stdout.total == output.stderr.total == 200 * 65536
    assert len(output.stdout.text) < 1 << 17


async def test_it_has_no_file_of_ours_and_a_session_of_its_own() -> None:
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        process = await ran("sh", "-c", "ls /proc/self/fd | wc -l; ps -o sid= -p $$; echo $$")
    finally:
        os.close(kept)
    files, session, pid = process.output.stdout.text.split()
    assert int(files) <= 4  # three, and the folder that is listed
    assert session == pid


async def test_what_it_has_started_ends_with_it() -> None:
    machines = Machines()
    process = begun("sh", "-c", "sleep 60 & sleep 61 & echo up", machines=machines)
    with trio.fail_after(LINGER + 10):
        await process.run()
    assert process.output.stdout.text == "up\n"
    assert machines.left == []


async def test_who_is_asked_to_end_may_do_it_well() -> None:
    async with trio.open_nursery() as nursery:
        process = begun("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.02; done")
        nursery.start_soon(process.run)
        while not process.output.total:
            await trio.sleep(0.01)
        assert await process.end(grace=10) is True
    assert (process.code, process.output.stdout.text) == (5, "up\nbye\n")


async def test_who_does_not_listen_is_killed() -> None:
    machines = Machines()
    async with trio.open_nursery() as nursery:
        process = begun(
            "sh", "-c", "trap '' TERM INT; echo up; while :; do sleep 0.02; done", machines=machines
        )
        nursery.start_soon(process.run)
        while not process.output.total:
            await trio.sleep(0.01)
        assert await process.end(signal.SIGINT, grace=0.1) is False
    assert process.signal == "KILL"
    assert machines.left == []


async def test_who_is_cancelled_still_reads_the_last_words() -> None:
    async with trio.open_nursery() as nursery:
        process = begun("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")
        nursery.start_soon(process.run)
        while not process.output.total:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
        await process.end(grace=10)
    assert process.output.stdout.text == "up\nbye\n"


async def test_what_cannot_be_started_leaves_no_file_open() -> None:
    class Nowhere:
        def start(self, argv: object, **files: object) -> None:
            raise PermissionError(13, "no")

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        Process(Nowhere(), ["true"], env={}, cwd="/", output=ProgramOutput())
    assert len(os.listdir("/proc/self/fd")) == before
    await ran("true")
    assert len(os.listdir("/proc/self/fd")) == before


class Undead:
    """It is killed in vain."""

    returncode = None

    def __init__(self) -> None:
        self.signals: list[int] = []

    async def wait(self) -> int:
        await trio.sleep_forever()
        raise AssertionError

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Grave:
    """A place where nothing ends."""

    def __init__(self) -> None:
        self.undead = Undead()

    def start(self, argv: object, **given: object) -> Undead:
        return self.undead


async def test_nobody_waits_for_ever_for_what_the_kernel_cannot_kill(
    autojump_clock: trio.testing.MockClock,
) -> None:
    place = Grave()
    process = Process(place, ["cat"], env={}, cwd="/", output=ProgramOutput())  # type: ignore[arg-type]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            assert not await process.end(grace=2.0)
    assert place.undead.signals == [signal.SIGTERM, signal.SIGKILL]
    assert (process.alive, process.code, process.signal) == (False, None, "KILL")
