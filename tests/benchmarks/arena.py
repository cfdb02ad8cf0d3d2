"""A hub and a load, alone in a namespace, each on a core of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.benchmarks import peers
from tests.benchmarks.load import HUB
from tests.interop.hubs import REPOSITORY, WireguardGoHub
from tests.interop.namespaces import Lab
from tests.interop.poplab_hub import PoplabHub

if TYPE_CHECKING:
    from tests.interop.hubs import Hub
    from tests.interop.namespaces import Process

KINDS: dict[str, type[WireguardGoHub] | type[PoplabHub]] = {
    "poplab": PoplabHub,
    "wireguard-go": WireguardGoHub,
}
#: The longest any load may take, its sealing included.
LOAD_TIMEOUT = 240.0


def cores() -> tuple[int | None, int | None]:
    """One for the hub, another for the load; no pinning where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


@dataclass(frozen=True)
class Start:
    """What a hub costs before its first packet."""

    seconds: float  # from exec to the first answered handshake
    resident_kb: int


class Arena:
    """`with Arena(kind, peers) as arena:` a running hub; nothing is left of it afterwards."""

    def __init__(self, kind: str, count: int) -> None:
        self._kind, self._count = kind, count
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poplab-bench-")))
            self._space = stack.enter_context(Lab()).root
            self._hub_core, self._load_core = cores()
            self._hub: Hub = KINDS[self._kind](self._space, self._directory, HUB, core=self._hub_core)
            self._hub.add_peers(peers.attachments(self._count))
            waiting = self._load("ready", "--peer", str(self._count - 1))  # the last one to be configured
            assert waiting.read_line() == "ready"
            began = time.monotonic()
            self._hub.start()
            answered = json.loads(waiting.result(90))["answered_at"]
            self.start = Start(answered - began, resident_kb(self._hub.process.pid))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def measure(self, verb: str, **options: int) -> dict[str, Any]:
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        load = self._load(verb, "--pid", str(self._hub.process.pid), *flags)
        answer: dict[str, Any] = json.loads(load.result(LOAD_TIMEOUT))
        return answer

    def _load(self, verb: str, *flags: str) -> Process:
        program = (sys.executable, "-m", "tests.benchmarks.load", verb, "--hub-public", self._hub.public_key)
        log = self._directory / "load.log"
        return self._space.start(
            *program, *flags, log=log, core=self._load_core, interactive=True, PYTHONPATH=str(REPOSITORY)
        )


def resident_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
