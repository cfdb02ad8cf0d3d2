"""``poplab edge`` as a process: what it says, how it stops, what it refuses, what it leaves behind."""

from __future__ import annotations

import base64
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio

from edge import enrol
from edge.config import public_key
from edge.log import configure_log
from edge.server import control
from tests.edge.server.lab import by_hand, key

REPOSITORY = Path(__file__).parents[3]
POPLAB = (sys.executable, "-c", "from scenarios.__main__ import main; main()")  # what the console script does
PATIENCE = 60.0  # seconds: a process starts slowly where many do
STATE_FILES = {"state.db", "state.db.lock"}


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


CONFIG = f"""\
version: 1
name: lab
listen: {{wireguard: "127.0.0.1:0", metrics: "127.0.0.1:0"}}
private_key_file: pop.key
state: state.db
vnets:
  acme: {{pool: 100.96.0.0/24, default: allow}}
tunnels:
  alice: {{kind: client, vnet: acme, public_key: {encoded(public_key(key("alice")))}, addresses: [100.96.0.12]}}
"""
BOB = f"""\
  bob: {{kind: client, vnet: acme, public_key: {encoded(public_key(key("bob")))}, addresses: [100.96.0.13]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edge.yaml").write_text(CONFIG)
    (tmp_path / "pop.key").touch(mode=0o600)
    (tmp_path / "pop.key").write_text(encoded(key("pop")) + "\n")
    return tmp_path


class Log:
    """The process's stderr, line by line; remembers all of it."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self.text = ""
        self._stream = stream
        self._seen = 0

    async def event(self, name: str) -> dict[str, str]:
        """Wait for the next line with ``event=name``; its fields."""
        with trio.fail_after(PATIENCE):
            while True:
                end = self.text.find("\n", self._seen)
                if end < 0:
                    chunk = await self._stream.receive_some()
                    assert chunk, f"no {name} in:\n{self.text}"
                    self.text += chunk.decode()
                    continue
                line, self._seen = self.text[self._seen : end], end + 1
                if f"event={name}" in line.split():
                    return dict(word.split("=", 1) for word in shlex.split(line))

    async def rest(self) -> str:
        with trio.fail_after(PATIENCE):
            async for chunk in self._stream:
                self.text += chunk.decode()
        return self.text


def command(config: Path) -> list[str]:
    return [*POPLAB, "edge", "--config", str(config)]


@asynccontextmanager
async def pop(config: Path) -> AsyncIterator[tuple[trio.Process, Log]]:
    process = await trio.lowlevel.open_process(command(config), cwd=REPOSITORY, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        yield process, Log(process.stderr)
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stderr.aclose()


async def refused(config: Path) -> str:
    """What a PoP that will not start says."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            command(config), cwd=REPOSITORY, capture_stdout=True, capture_stderr=True, check=False
        )
    assert done.returncode == 2, done
    assert done.stdout == b""
    text = done.stderr.decode()
    assert "Traceback" not in text
    return text


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def metrics(url: str) -> str:
    where, _, path = url.removeprefix("http://").partition("/")
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(*address(where)) as stream:
            await stream.send_all(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
            return b"".join([chunk async for chunk in stream]).decode()


def nothing_listens(where: tuple[str, int]) -> bool:
    from edge.io.udp import UdpPort

    UdpPort.bind(where).close()
    return True


# -- a life --


async def test_it_serves_reloads_refuses_a_bad_file_and_drains(folder: Path) -> None:
    config = folder / "edge.yaml"
    async with pop(config) as (process, log):
        url = (await log.event("metrics"))["url"]
        serving = await log.event("serving")
        assert serving["public_key"] == encoded(public_key(key("pop")))
        wireguard = address(serving["wireguard"])
        with (
            by_hand("alice", wireguard, "100.96.0.12") as alice,
            by_hand("bob", wireguard, "100.96.0.13") as bob,
        ):
            await alice.up()
            assert 'poplab_tunnel_up{kind="client",tunnel="alice",vnet="acme"} 1.0' in await metrics(url)

            config.write_text(CONFIG + BOB)
            process.send_signal(signal.SIGHUP)
            assert (await log.event("reloaded"))["tunnels"] == "2"
            await bob.up()
            alice.host.send("100.96.0.13", b"hello")
            alice.flush()
            with trio.fail_after(PATIENCE):
                while not bob.host.arrivals:
                    await bob.port.wait_readable()
                    bob.receive()
            assert bob.host.arrivals[0].source == "100.96.0.12"

            config.write_text(CONFIG.replace("pool:", "pol:"))
            process.send_signal(signal.SIGHUP)
            await log.event("reload-refused")
            config.write_text(CONFIG.replace("default: allow", "default: block, mtu: 9") + BOB)
            process.send_signal(signal.SIGHUP)
            await log.event("reload-refused")
            page = await metrics(url)
            assert 'poplab_config_reloads_total{result="ok"} 1.0' in page
            assert 'poplab_config_reloads_total{result="failed"} 2.0' in page
            bob.host.send("100.96.0.12", b"as before")
            bob.flush()
            with trio.fail_after(PATIENCE):
                while not alice.host.arrivals:
                    await alice.port.wait_readable()
                    alice.receive()

            # What is on its way when the signal comes still gets through.
            alice.host.send("100.96.0.13", *[b"last words"] * 50)
            alice.flush()
            process.send_signal(signal.SIGTERM)
            assert (await log.event("draining"))["signal"] == "SIGTERM"
            stopped = await log.event("stopped")
            assert (stopped["packets_in"], stopped["packets_out"], stopped["dropped"]) == ("52", "52", "0")
            with trio.fail_after(PATIENCE):
                assert await process.wait() == 0
            bob.receive()
            assert bob.host.payloads == [b"hello", *[b"last words"] * 50]
        text = await log.rest()
        assert encoded(key("pop")) not in text and "Traceback" not in text
    assert "edge.yaml:6:11" in text or "edge.yaml:7:" in text, "the refusal names the place"
    assert {f.name for f in folder.iterdir()} == {"edge.yaml", "pop.key", *STATE_FILES}
    assert nothing_listens(wireguard)


async def test_recorded_secrets_are_warned_of_at_the_start(tmp_path: Path) -> None:
    config = enrol.init(tmp_path / "pop", listen="127.0.0.1:0", masque="127.0.0.1:0")
    config.write_text(
        config.read_text().replace("127.0.0.1:9180", "127.0.0.1:0") + "masque: {keylog_file: k.log}\n"
    )
    async with pop(config) as (_, log):
        said = await log.event("keylog")
    assert said["level"] == "warning" and said["file"].endswith("k.log")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains_and_the_next_one_starts_from_what_was_kept(
    folder: Path, number: signal.Signals
) -> None:
    async with pop(folder / "edge.yaml") as (process, log):
        wireguard = address((await log.event("serving"))["wireguard"])
        with by_hand("alice", wireguard, "100.96.0.12") as alice:
            await alice.up()
            process.send_signal(number)
            await log.event("stopped")
            with trio.fail_after(PATIENCE):
                assert await process.wait() == 0

            async with pop(folder / "edge.yaml") as (again, its_log):
                await its_log.event("serving")
                with trio.fail_after(PATIENCE):  # it knows where alice is, and calls
                    while alice.tunnel.handshakes < 2:
                        await alice.port.wait_readable()
                        alice.receive()
                again.send_signal(number)
                await its_log.event("stopped")
                with trio.fail_after(PATIENCE):
                    assert await again.wait() == 0


async def test_an_impatient_stop_is_still_a_clean_one(folder: Path) -> None:
    async with pop(folder / "edge.yaml") as (process, log):
        await log.event("serving")
        process.send_signal(signal.SIGINT)
        await log.event("draining")
        for _ in range(20):  # all the way to the end
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)
            await trio.sleep(0.02)
        with trio.fail_after(PATIENCE):
            assert await process.wait() == 0
        assert "Traceback" not in await log.rest()


async def test_a_kill_leaves_a_state_that_the_next_one_takes(folder: Path) -> None:
    async with pop(folder / "edge.yaml") as (process, log):
        wireguard = address((await log.event("serving"))["wireguard"])
        with by_hand("alice", wireguard, "100.96.0.12") as alice:
            await alice.up()
        process.kill()
        await process.wait()
    async with pop(folder / "edge.yaml") as (process, log):
        await log.event("serving")


# -- reload, from beside --


async def reload(config: Path) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            [*command(config), "reload"],
            cwd=REPOSITORY,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def test_reload_tells_what_came_of_it(folder: Path) -> None:
    config = folder / "edge.yaml"
    nobody = await reload(config)
    assert nobody.returncode == 2 and b"no PoP runs with the state" in nobody.stderr
    async with pop(config) as (process, log):
        assert (await log.event("serving"))["process"] == str(process.pid)
        config.write_text(CONFIG + BOB)
        taken = await reload(config)
        assert (taken.returncode, taken.stderr) == (0, b"")
        assert taken.stdout.decode() == f"{config}: in force: 1 vnet, 2 tunnels (process {process.pid})\n"
        await log.event("reloaded")

        config.write_text((CONFIG + BOB).replace("100.96.0.13", "100.96.1.13"))
        refusal = await reload(config)
        assert (refusal.returncode, refusal.stdout) == (1, b"")
        said = refusal.stderr.decode()
        assert "100.96.1.13 is outside the pool" in said and "goes on as before" in said
        await log.event("reload-refused")

        config.write_text(CONFIG.replace("127.0.0.1:0", "127.0.0.1:1"))
        needs_restart = await reload(config)
        assert needs_restart.returncode == 1 and b"needs a restart" in needs_restart.stderr

        config.write_text("version: [")
        unreadable = await reload(config)
        assert unreadable.returncode == 2 and b"edge.yaml:" in unreadable.stderr
        config.write_text(CONFIG.replace("state: state.db\n", ""))
        stateless = await reload(config)
        assert stateless.returncode == 2 and b"kill -HUP" in stateless.stderr

        config.write_text(CONFIG + BOB)
        assert (await reload(config)).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert (await log.event("stopped"))["event"] == "stopped"
        assert log.text.count("event=reloaded") == 2 and log.text.count("event=reload-refused") == 2


async def test_a_pop_that_does_not_answer_is_said_to(folder: Path) -> None:
    async with pop(folder / "edge.yaml") as (process, log):
        await log.event("serving")
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(control.NotReloaded, match="did not answer"):
            control.reload(folder / "edge.yaml", patience=0.1)
        process.send_signal(signal.SIGCONT)
        await log.event("reloaded")


# -- the log --


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_mistakes_in_a_file_stand_in_lines_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    try:
        configure_log(verbose=False)
        structlog.get_logger().error(
            "refused", problems="a.yaml:1:2: wrong\n    fix: \x1b[2Jmend it", vnet="lab"
        )
    finally:
        structlog.reset_defaults()
    first, *rest = screen.getvalue().splitlines()
    assert "refused" in first and "lab" in first
    assert rest == ["    a.yaml:1:2: wrong", "        fix: \\x1b[2Jmend it"]


async def test_a_reload_that_is_asked_for_during_the_start_is_done_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8: SIGHUP ends a process that has not said yet what it wants with it."""
    (folder / "early_hooks.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\nhook = print\n"
    )
    (folder / "edge.yaml").write_text(
        CONFIG.replace("default: allow", "default: allow, hooks: ['early_hooks:hook']")
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    async with pop(folder / "edge.yaml") as (process, log):
        await log.event("serving")
        await log.event("reloaded")
        assert process.poll() is None


# -- refusals --


async def test_a_second_pop_on_the_same_state_is_refused(folder: Path) -> None:
    async with pop(folder / "edge.yaml") as (process, log):
        await log.event("serving")
        text = await refused(folder / "edge.yaml")
        assert f"in use by another PoP (process {process.pid})" in text and "fix:" in text
        assert process.poll() is None


@pytest.mark.parametrize("which", ["wireguard", "metrics"])
async def test_a_port_that_is_taken_is_refused(folder: Path, which: str) -> None:
    kind = trio.socket.SOCK_DGRAM if which == "wireguard" else trio.socket.SOCK_STREAM
    with trio.socket.socket(type=kind) as holder:
        await holder.bind(("127.0.0.1", 0))
        if which == "metrics":
            holder.listen(1)
        where = "{}:{}".format(*holder.getsockname())
        (folder / "edge.yaml").write_text(CONFIG.replace(f'{which}: "127.0.0.1:0"', f'{which}: "{where}"'))
        text = await refused(folder / "edge.yaml")
    assert where in text and "taken" in text and "fix:" in text
    assert f"listen.{which}" in text and f"{folder / 'edge.yaml'}: " in text
    assert "serving" not in text


async def test_everything_wrong_in_a_file_is_said_at_once_with_its_place(folder: Path) -> None:
    config = folder / "edge.yaml"
    config.write_text(
        CONFIG.replace("default: allow", "defalt: allow").replace("100.96.0.12", "100.96.0.312")
    )
    text = await refused(config)
    lines = config.read_text().splitlines()
    column = lines[6].index("defalt") + 1
    assert f"{config}:7:{column}: " in text and "default" in text
    assert f"{config}:9:{lines[8].index('100.96') + 1}: " in text
    assert {f.name for f in folder.iterdir()} == {"edge.yaml", "pop.key"}, "nothing was started"


async def test_a_key_that_others_can_read_is_refused_and_not_shown(folder: Path) -> None:
    os.chmod(folder / "pop.key", 0o644)
    text = await refused(folder / "edge.yaml")
    assert f"chmod 600 {folder / 'pop.key'}" in text
    assert f"{folder / 'edge.yaml'}:4:" in text
    assert encoded(key("pop")) not in text


async def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    assert "nowhere.yaml" in await refused(folder / "nowhere.yaml")


async def test_a_damaged_state_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / "state.db").write_bytes(b"\x00garbage" * 512)
    text = await refused(folder / "edge.yaml")
    assert "state.db" in text and "damaged" in text and "fix:" in text
