"""WireGuard peers by other people: Debian's wireguard-go with a TUN device, and Xray's userspace client."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.interop.hubs import device_up
from tests.interop.wgquick import QuickConfig, parse

if TYPE_CHECKING:
    from tests.interop.namespaces import Namespace, Process

TRAFFIC = str(Path(__file__).with_name("traffic.py"))
#: It blocks for ever and owns its process, so it gets one.
XRAY = "import sys, xray; xray.startFromJSON(open(sys.argv[1]).read())"


class WireguardGoPeer:
    """Does by hand what `wg-quick up` does, in a namespace of its own."""

    def __init__(self, space: Namespace, directory: Path, quick: str) -> None:
        self.space, self._directory = space, directory
        self.config: QuickConfig = parse(quick)
        self.interface = f"wg-{os.urandom(4).hex()}"

    def up(self) -> None:
        space, name = self.space, self.interface
        self.process = space.start("wireguard-go", "-f", name, log=self._directory / f"{space.name}.log")
        device_up(space, name, self.process)
        space.run("wg", "setconf", name, "/dev/stdin", text=self.config.setconf)
        for address in self.config.addresses:
            space.ip("address", "add", address, "dev", name)
        space.ip("link", "set", name, "mtu", str(self.config.mtu), "up")
        for prefix in self.config.allowed:
            space.ip("route", "replace", prefix, "dev", name)

    def show(self, what: str) -> str:
        """The value of `wg show INTERFACE WHAT` for its only peer (or of the interface itself)."""
        return self.space.run("wg", "show", self.interface, what).split()[-1]

    def set(self, *arguments: str) -> None:
        self.space.run("wg", "set", self.interface, *arguments)

    def ping(self, address: str, count: int = 5) -> dict[str, Any]:
        answer = self.space.run(sys.executable, TRAFFIC, "ping", address, str(count))
        return json.loads(answer)

    def echo(self, address: str, port: int) -> Process:
        """A UDP server that answers every datagram with it and the source address that it saw."""
        log = self._directory / f"echo-{self.space.name}.log"
        process = self.space.start(
            sys.executable, TRAFFIC, "echo", address, str(port), log=log, interactive=True
        )
        assert process.read_line() == "ready"
        return process

    def flow(self, address: str, port: int, rate: float, seconds: float, size: int = 200) -> Process:
        """Numbered datagrams to an echo server; the result says when each went and which came back."""
        log = self._directory / f"flow-{self.space.name}.log"
        arguments = (address, str(port), str(rate), str(seconds), str(size))
        return self.space.start(sys.executable, TRAFFIC, "flow", *arguments, log=log, interactive=True)


def xray_outbound(config: QuickConfig) -> dict[str, Any]:
    """The same wg-quick file as an Xray outbound. `noKernelTun`: its own TCP/IP stack, no privilege."""
    peer = {
        "publicKey": config.peer_key,
        "endpoint": f"{config.endpoint[0]}:{config.endpoint[1]}",
        "allowedIPs": list(config.allowed),
        **({"preSharedKey": config.preshared_key} if config.preshared_key else {}),
    }
    settings = {
        "secretKey": config.private_key,
        "address": list(config.addresses),
        "mtu": config.mtu,
        "noKernelTun": True,
        "peers": [peer],
    }
    return {"protocol": "wireguard", "settings": settings}


def xray_door(port: int, target: tuple[str, int], network: str) -> dict[str, Any]:
    """An inbound: what arrives at 127.0.0.1:port leaves the tunnel's far end towards `target`."""
    settings = {"address": target[0], "port": target[1], "network": network}
    return {"listen": "127.0.0.1", "port": port, "protocol": "dokodemo-door", "settings": settings}


def xray_config(inbounds: list[dict[str, Any]], quick: str) -> str:
    log = {"loglevel": "warning"}
    return json.dumps({"log": log, "inbounds": inbounds, "outbounds": [xray_outbound(parse(quick))]})


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
