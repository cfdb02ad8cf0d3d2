"""Xray as `add-client --for xray` sets it up: a SOCKS proxy in front of a MASQUE tunnel."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import trio

from tests.interop.enrolled import free_port
from tests.interop.peers import XRAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.interop.namespaces import Place, Process

HERE = "127.0.0.1"
START = 20.0  # seconds
PATIENCE = 10.0  # seconds, for what takes milliseconds on an idle machine


class XrayProxy:
    """Runs the file `text` in a process of its own. Changed are only its SOCKS port, ALPN, password and log level, and
    `doors` are added to it."""

    def __init__(
        self,
        place: Place,
        log: Path,
        text: str,
        *,
        alpn: str = "h3",
        password: str = "",
        loglevel: str = "",
        doors: Sequence[dict[str, Any]] = (),
    ) -> None:
        document: dict[str, Any] = json.loads(text)
        (inbound,) = document["inbounds"]
        (outbound,) = document["outbounds"]
        self.proxy = (HERE, free_port())
        inbound["port"] = self.proxy[1]
        document["inbounds"] += doors
        outbound["streamSettings"]["tlsSettings"]["alpn"] = [alpn]
        if password:
            outbound["streamSettings"]["masqueSettings"]["pass"] = password
        if loglevel:
            document["log"] = {"loglevel": loglevel}
        self._process = start_xray(place, log, document)

    async def listening(self) -> None:
        """Xray dials the tunnel with the first packet, not before."""
        await listening(self._process, self.proxy)

    def stop(self) -> None:
        self._process.stop()

    @property
    def said(self) -> str:
        return self._process.output()


def start_xray(place: Place, log: Path, document: dict[str, Any]) -> Process:
    config = log.with_suffix(".json")
    config.write_text(json.dumps(document))
    return place.start(sys.executable, "-c", XRAY, str(config), log=log)


async def listening(process: Process, address: tuple[str, int]) -> None:
    """Wait until a TCP port of Xray is open."""
    with trio.fail_after(START):
        while True:
            try:
                stream = await trio.open_tcp_stream(*address)
            except OSError:
                assert process.alive, f"Xray ended: {process.output()}"
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return


async def until(condition: Callable[[], object], what: str) -> None:
    with trio.move_on_after(PATIENCE):
        while not condition():
            await trio.sleep(0.02)
        return
    raise AssertionError(f"waited {PATIENCE:g} s for {what}")
