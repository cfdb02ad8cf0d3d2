"""Programs in namespaces: how they end, what they see, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from scenarios.fabric.netns.namespace import Namespace
from scenarios.fabric.netns.spawner import Program, Spawner
from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs()

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 20.0
ROOT = Path(__file__).parents[4]


class Bench:
    """Starts programs in one namespace, with their output in files."""

    def __init__(self, folder: Path, spawner: Spawner) -> None:
        self.folder = folder
        self.space = Namespace("there")
        self.spawner = spawner

    def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Program:
        streams = [
            os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND) for name in ("in", "out", "err")
        ]
        try:
            return self.spawner.start(
                self.space.fd,
                argv,
                env={"PATH": PATH, **(env or {})},
                cwd=cwd or self.folder,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                files=files,
            )
        finally:
            for fd in streams:
                os.close(fd)

    async def said(self, *argv: str, **how: object) -> str:
        program = self.start(*argv, **how)  # type: ignore[arg-type]
        with trio.fail_after(PATIENCE):
            code = await program.wait()
        assert code == 0, self.errors
        return self.output

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def errors(self) -> str:
        return (self.folder / "err").read_text()

    async def wait_for(self, words: str) -> None:
        with trio.fail_after(PATIENCE):
            while words not in self.output:
                await trio.sleep(0.01)


@pytest.fixture
async def bench(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Bench]:
    spawner = Spawner()
    bench = Bench(tmp_path, spawner)
    await nursery.start(spawner.run)
    try:
        yield bench
    finally:
        spawner.close()
        bench.space.close()


OF_GLIBC = 1 << 31 | 1 << 32  # signals 32 and 33, as bits of /proc/PID/status


def marked(mark: str) -> list[int]:
    """Processes with `mark` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


async def ended(program: Program) -> int:
    with trio.fail_after(PATIENCE):
        return await program.wait()


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", -9), ("kill -15 $$", -15)],
)
async def test_how_it_ended_is_told_as_subprocess_does(bench: Bench, script: str, code: int) -> None:
    program = bench.start("sh", "-c", script)
    assert await ended(program) == code
    assert program.returncode == code


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "/etc/passwd"])
async def test_what_cannot_be_started_ends_with_127_and_says_why(bench: Bench, name: str) -> None:
    assert await ended(bench.start(name)) == 127
    assert bench.errors.startswith(f"{name}: ")
    assert "No such file" in bench.errors or "Permission denied" in bench.errors
    assert "Traceback" not in bench.errors


async def test_a_working_folder_that_is_not_there_is_no_end_of_the_others(bench: Bench) -> None:
    other = bench.start("sleep", "60")
    assert await ended(bench.start("true", cwd=bench.folder / "nowhere")) == 127
    assert f"true: its working folder {bench.folder / 'nowhere'} cannot be entered: No such" in bench.errors
    assert await ended(bench.start("true")) == 0
    assert other.returncode is None


@pytest.mark.parametrize("kind", ["net", "mnt", "pid"])
async def test_no_process_that_programs_see_is_where_the_runner_is(bench: Bench, kind: str) -> None:
    seen = (await bench.said("sh", "-c", f"readlink /proc/[0-9]*/ns/{kind}")).split()
    assert len(seen) >= 2  # the first process, and themselves
    assert os.readlink(f"/proc/self/ns/{kind}") not in seen


async def test_what_is_too_long_is_refused_and_the_rest_goes_on(bench: Bench) -> None:
    with pytest.raises(ValueError, match="more than 131072 bytes"):
        bench.start("echo", "x" * 200_000)
    program = bench.start("sh", "-c", "true", "x" * 100_000)
    assert await ended(program) == 0


async def test_signals_reach_the_whole_group(bench: Bench) -> None:
    program = bench.start("sh", "-c", "sleep 60 & echo begun; wait")
    await bench.wait_for("begun")
    program.send_signal(signal.SIGTERM)
    assert await ended(program) == -signal.SIGTERM


async def test_a_signal_is_not_lost_however_early_it_comes(bench: Bench) -> None:
    programs = [bench.start("sleep", "60") for _ in range(20)]
    for program in programs:
        program.send_signal(signal.SIGTERM)
    assert [await ended(program) for program in programs] == [-signal.SIGTERM] * 20


async def test_signals_to_what_has_ended_do_nothing(bench: Bench) -> None:
    program = bench.start("true")
    await ended(program)
    program.send_signal(signal.SIGKILL)
    assert await ended(bench.start("true")) == 0


async def test_a_program_finds_signals_as_it_expects_them(bench: Bench) -> None:
    said = await bench.said("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    # Two signals are glibc's own: nobody can set them, and whoever started the tests may have ignored them.
    assert {int(line.split()[1], 16) & ~OF_GLIBC for line in said.splitlines()} == {0}


async def test_it_has_its_three_streams_open_and_nothing_else(bench: Bench) -> None:
    said = await bench.said("sh", "-c", "ls -l /proc/$$/fd")
    lines = [line for line in said.splitlines() if "->" in line]
    assert {line.partition("->")[2].strip() for line in lines} == {
        str(bench.folder / name) for name in ("in", "out", "err")
    }


async def test_it_sees_the_network_of_its_machine_only(bench: Bench) -> None:
    said = await bench.said("sh", "-c", "ls /sys/class/net; cat /proc/net/dev")
    assert "eth0" not in said and said.split()[0] == "lo"


async def test_it_sees_the_processes_of_its_world_only(bench: Bench) -> None:
    other = bench.start("sleep", "61")
    said = await bench.said(
        "sh", "-c", 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; done; echo $$ $PPID'
    )
    assert "sleep 61" in said
    assert int(said.split()[-1]) == 1, "the parent is the first process"
    assert other.returncode is None


async def test_each_has_a_run_folder_of_its_own(bench: Bench) -> None:
    first = bench.start("sh", "-c", "echo one > /run/control; echo written; sleep 60")
    await bench.wait_for("written")
    assert await ended(bench.start("sh", "-c", "test ! -e /run/control")) == 0
    assert not Path("/run/control").exists()
    assert first.returncode is None


async def test_a_working_folder_below_run_is_still_there(bench: Bench) -> None:
    folder = Path("/run", f"poplab-test-{os.getpid()}")
    folder.mkdir()
    try:
        assert await ended(bench.start("sh", "-c", f"echo mine > {folder}/file", cwd=folder)) == 0, (
            bench.errors
        )
        assert (folder / "file").read_text() == "mine\n"
    finally:
        (folder / "file").unlink(missing_ok=True)
        folder.rmdir()


async def test_files_take_the_place_of_those_of_the_machine(bench: Bench) -> None:
    before = Path("/etc/hosts").read_text()
    said = await bench.said(
        "cat", "/etc/hosts", files={"/etc/hosts": "10.0.50.60 pbx\n", "/etc/not-here": "x"}
    )
    assert said == "10.0.50.60 pbx\n"
    assert Path("/etc/hosts").read_text() == before
    assert not Path("/etc/not-here").exists()


async def test_a_file_that_leads_into_the_run_folder_is_covered_too(bench: Bench) -> None:
    link = bench.folder / "resolv.conf"
    link.symlink_to("/run/resolver/stub.conf")
    said = await bench.said("cat", str(link), files={str(link): "nameserver 10.0.50.53\n"})
    assert said == "nameserver 10.0.50.53\n"
    assert not Path("/run/resolver").exists()


DAEMON = """
import os, sys, time
told, telling = os.pipe()
if os.fork():
    os.close(telling)
    os.read(told, 1)  # what has not left its group in time would end with it
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 20)
time.sleep(600)
"""


async def test_orphans_and_daemons_are_gone_when_it_closes(bench: Bench) -> None:
    mark = f"daemon-{os.getpid()}"
    assert await ended(bench.start(sys.executable, "-c", DAEMON, mark)) == 0
    with trio.fail_after(PATIENCE):
        while not marked(mark):
            await trio.sleep(0.01)
    bench.spawner.close()
    assert marked(mark) == []


async def test_what_is_left_in_its_group_ends_with_a_program(bench: Bench) -> None:
    mark = f"rest-{os.getpid()}"
    await ended(bench.start("sh", "-c", f"sh -c 'while :; do sleep 1; done' {mark} & exit 0"))
    with trio.fail_after(PATIENCE):
        while marked(mark):
            await trio.sleep(0.01)


async def test_programs_have_ended_when_who_starts_them_is_killed(bench: Bench) -> None:
    mark = f"killed-{os.getpid()}"
    programs = [bench.start("sh", "-c", "while :; do sleep 1; done", mark) for _ in range(3)]
    with trio.fail_after(PATIENCE):
        while len(marked(mark)) < 3:
            await trio.sleep(0.01)
    for child in children(os.getpid()):
        for first in children(child):
            os.kill(first, signal.SIGKILL)
    assert [await ended(program) for program in programs] == [-signal.SIGKILL] * 3
    with trio.fail_after(PATIENCE):
        while marked(mark):
            await trio.sleep(0.01)
    with pytest.raises(OSError, match="Broken pipe"):
        bench.start("true")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


async def test_closing_closes_every_file(tmp_path: Path) -> None:
    before, others = os.listdir("/proc/self/fd"), children(os.getpid())
    for _ in range(3):
        spawner = Spawner()
        spawner.close()
        spawner.close()
    assert os.listdir("/proc/self/fd") == before
    assert children(os.getpid()) == others


async def test_programs_may_have_as_many_files_as_was_said(tmp_path: Path, nursery: trio.Nursery) -> None:
    spawner = Spawner(open_files=123)
    bench = Bench(tmp_path, spawner)
    await nursery.start(spawner.run)
    try:
        assert await bench.said("sh", "-c", "ulimit -n") == "123\n"
    finally:
        spawner.close()
        bench.space.close()


def test_a_machine_without_room_for_pid_namespaces_says_so(tmp_path: Path) -> None:
    limits = Path("/proc/sys/user/max_pid_namespaces")
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from scenarios.fabric.netns.spawner import Spawner\n"
        "try: Spawner()\n"
        "except OSError as error: print(error)\n"
    )
    if not limits.exists():
        pytest.skip("this kernel has no such limit")
    inside = f'echo 0 > {limits} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", inside, sys.executable, script],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert "no PID namespace" in done.stdout, done.stderr


def test_all_is_gone_when_its_process_is_killed(tmp_path: Path) -> None:
    mark = f"orphan-{os.getpid()}"
    script = f"""
import sys, trio, os
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from scenarios.fabric.netns.namespace import Namespace
from scenarios.fabric.netns.spawner import Spawner
spawner, space = Spawner(), Namespace("x")
for code in ({DAEMON!r}, "import time; time.sleep(600)"):
    argv = [sys.executable, "-c", code, {mark!r}]
    spawner.start(space.fd, argv, env={{}}, cwd=Path("/"), stdin=0, stdout=1, stderr=2)
sys.stdin.read()
"""
    runner = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, cwd=ROOT)
    end = time.monotonic() + PATIENCE
    while len(running := marked(mark)) < 2 and time.monotonic() < end:  # parents of daemons come and go
        time.sleep(0.02)
    assert len(running) >= 2
    runner.kill()
    runner.wait()
    assert runner.stdin is not None
    runner.stdin.close()
    while marked(mark) and time.monotonic() < end:
        time.sleep(0.02)
    assert marked(mark) == []
