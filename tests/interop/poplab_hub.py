"""Our PoP as a hub: the `poplab` command, and nothing else of us."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.interop.hubs import POOL, POOL6, REPOSITORY, Attachment, encode
from tests.interop.namespaces import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.namespaces import Namespace

#: `poplab edge`, by this interpreter, so that a work tree that is not installed serves as well.
POPLAB_EDGE = (sys.executable, "-c", "from edge.cli import edge; edge(prog_name='poplab edge')")


class PoplabHub:
    flood_memory_kb = 8_000
    restores_sessions = True  # it knows its peers' endpoints, and calls them when it is back

    def __init__(self, space: Namespace, directory: Path, listen: tuple[str, int], **placement: int) -> None:
        self._space, self._directory, self._placement = space, directory, placement
        private = X25519PrivateKey.generate()
        self.public_key = encode(private.public_key().public_bytes_raw())
        self._listen = listen
        self._config = directory / "edge.yaml"
        key = directory / "pop.key"
        key.touch(mode=0o600)
        key.write_text(encode(private.private_bytes_raw()) + "\n")
        self._write([])

    def _write(self, peers: list[Attachment]) -> None:
        """JSON is YAML: nothing of ours is needed to write it."""
        tunnels = {
            peer.name: {
                "kind": "client",
                "vnet": "lab",
                "public_key": peer.public_key,
                "addresses": [text.partition("/")[0] for text in peer.addresses],
            }
            for peer in peers
        }
        vnet = {"pool": str(POOL), "pool6": str(POOL6), "mtu": 1420, "default": "allow"}
        document = {
            "version": 1,
            "name": "interop",
            "listen": {"wireguard": f"{self._listen[0]}:{self._listen[1]}", "metrics": None},
            "private_key_file": "pop.key",
            "state": "state.db",
            "vnets": {"lab": vnet},
            "tunnels": tunnels,
        }
        self._config.write_text(json.dumps(document, indent=1) + "\n")

    def add_client(self, name: str, *, psk: bool = False) -> str:
        arguments = ("add-client", name, "--config", str(self._config), "--psk" if psk else "--no-psk")
        done = subprocess.run(
            [*POPLAB_EDGE, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add_peers(self, peers: list[Attachment]) -> None:
        self._write(peers)

    def start(self) -> None:
        log = self._directory / "poplab.log"
        command = (*POPLAB_EDGE, "--config", str(self._config))
        self.process = self._space.start(*command, log=log, PYTHONPATH=str(REPOSITORY), **self._placement)
        port = f":{self._listen[1]}"

        def listening() -> bool:
            assert self.process.alive, f"poplab edge ended: {self.process.output()}"
            return port in self._space.run("ss", "--udp", "--listening", "--numeric")

        wait_for(listening, "poplab edge to listen", timeout=30.0)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(how)
