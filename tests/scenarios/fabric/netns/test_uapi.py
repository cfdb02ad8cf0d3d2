"""The configuration protocol of WireGuard in user space, with a program that is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from edge.errors import FabricUnavailable
from scenarios.fabric.netns import uapi


class Listening:
    """Takes what comes, and answers `answer`."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        (folder / "wireguard").mkdir(parents=True)
        self.asked: list[str] = []
        self._answer = answer
        self._socket = trio.socket.socket(socket.AF_UNIX)
        self._path = str(folder / "wireguard/poplab0.sock")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._socket:
            await self._socket.bind(self._path)
            self._socket.listen()
            task_status.started()
            while True:
                taken, _ = await self._socket.accept()
                with taken:
                    data = b""
                    while not data.endswith(b"\n\n"):
                        data += await taken.recv(4096)
                    self.asked.append(data.decode())
                    await taken.send(self._answer)


async def configured(folder: Path) -> None:
    await uapi.configure(
        folder,
        "poplab0",
        private_key=b"\x01" * 32,
        peer=b"\x02" * 32,
        preshared_key=b"\x03" * 32,
        endpoint=("198.18.0.1", 51820),
        keepalive=25,
    )


async def test_one_peer_through_which_everything_goes(tmp_path: Path, nursery: trio.Nursery) -> None:
    there = Listening(tmp_path, b"errno=0\n\n")
    await nursery.start(there.run)
    await configured(tmp_path)
    await uapi.keep_alive(tmp_path, "poplab0", peer=b"\x02" * 32, seconds=0)
    first, second = there.asked
    assert first.splitlines() == [
        "set=1",
        f"private_key={'01' * 32}",
        "replace_peers=true",
        f"public_key={'02' * 32}",
        f"preshared_key={'03' * 32}",
        "endpoint=198.18.0.1:51820",
        "persistent_keepalive_interval=25",
        "replace_allowed_ips=true",
        "allowed_ip=0.0.0.0/0",
        "allowed_ip=::/0",
        "",
    ]
    assert second.splitlines()[2:4] == ["update_only=true", "persistent_keepalive_interval=0"]


async def test_a_refusal_is_told_without_the_keys(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(Listening(tmp_path, b"errno=22\n\n").run)
    with pytest.raises(FabricUnavailable, match="poplab0 refuses its configuration: errno=22") as caught:
        await configured(tmp_path)
    assert "01" * 32 not in str(caught.value)


async def test_nobody_listens_yet(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await configured(tmp_path)
    (tmp_path / "wireguard").mkdir()
    with pytest.raises(OSError):
        await configured(tmp_path)


async def test_one_that_hangs_up_is_asked_again(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(Listening(tmp_path, b"").run)
    with pytest.raises(OSError):
        await configured(tmp_path)


async def test_a_folder_may_be_deeper_than_a_socket_has_room_for(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    there = Listening(tmp_path, b"errno=0\n\n")
    await nursery.start(there.run)
    deep = tmp_path / ("deeper" * 20)
    (tmp_path / "wireguard").rename(tmp_path / "moved")
    deep.mkdir()
    (tmp_path / "moved").rename(deep / "wireguard")
    await configured(deep)
    assert len(there.asked) == 1
