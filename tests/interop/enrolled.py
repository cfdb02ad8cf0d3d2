"""Our PoP as people set it up: `poplab edge init`, `add-client`, `poplab edge`. Only ports are chosen here."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from edge.cli import edge
from tests.interop.hubs import REPOSITORY
from tests.interop.namespaces import wait_for
from tests.interop.poplab_hub import POPLAB_EDGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.namespaces import Place

START = 30.0  # seconds; a busy machine takes a few
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
METRICS_AS_MADE = '"127.0.0.1:9180"'


@dataclass(frozen=True)
class Metrics:
    """One scrape."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name that have these labels."""
        wanted = labels.items()
        return sum(v for (n, have), v in self.samples.items() if n == name and wanted <= have)

    @property
    def unaccounted(self) -> float:
        """Packets that came in and are neither out, nor dropped with a reason, nor held."""
        came = self("poplab_vnet_packets_total", direction="in") + self("poplab_vnet_generated_packets_total")
        gone = self("poplab_vnet_packets_total", direction="out") + self("poplab_dropped_packets_total")
        return came - gone - self("poplab_vnet_held_packets")


class EnrolledPop:
    """A PoP in `directory` that listens at these addresses of `place`; `more` are new lines of its edge.yaml, by the
    beginning of the line that they go before. Clients may be added before it starts."""

    def __init__(
        self,
        place: Place,
        directory: Path,
        *,
        wireguard: str,
        masque: str,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.log = directory / "pop.log"
        folder = directory / "pop"
        self.config = folder / "edge.yaml"
        self._edge("init", str(folder), "--listen", wireguard, "--listen-masque", masque)
        text = self.config.read_text()
        changes = {METRICS_AS_MADE: '"127.0.0.1:0"'}
        changes |= {line: f"{new}\n{line}" for line, new in (more or {}).items()}
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.config.write_text(text)

    def add_client(self, name: str, *options: str) -> str:
        """The file for the program of a client, as it is handed out."""
        return self._edge("add-client", name, "--config", str(self.config), *options)

    def add_connector(self, name: str, *options: str) -> str:
        return self._edge("add-connector", name, "--config", str(self.config), *options)

    def start(self) -> None:
        command = (*POPLAB_EDGE, "--config", str(self.config))
        self.process = self.place.start(*command, log=self.log, PYTHONPATH=str(REPOSITORY))

        def serving() -> bool:
            assert self.process.alive, f"poplab edge ended: {self.process.output()}"
            return bool(self.lines("serving"))

        wait_for(serving, "poplab edge to serve", timeout=START)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(how)

    def reload(self) -> None:
        self._edge("reload", "--config", str(self.config))

    def lines(self, event: str, *parts: str) -> list[str]:
        """Lines of the log about `event` that have all `parts`."""
        wanted = (f"event={event} ", *parts)
        return [line for line in self.log.read_text().splitlines() if all(p in f"{line} " for p in wanted)]

    def metrics(self) -> Metrics:
        text = self.place.run(sys.executable, "-c", GET, self.lines("metrics")[-1].rpartition("url=")[2])
        return Metrics(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def _edge(self, *arguments: str) -> str:
        done = CliRunner().invoke(edge, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout


def free_port() -> int:
    """On 127.0.0.1, for UDP and for TCP."""
    for _ in range(50):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
