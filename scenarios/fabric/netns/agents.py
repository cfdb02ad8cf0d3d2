"""Programs that make a tunnel: how each is started, and what it is told."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import ClassVar

import scenarios
from edge.config import EdgeConfig, Kind, TunnelConfig, leaf, public_key
from edge.document import HostPort
from edge.enrol.programs import Server, poplab, xray
from edge.enrol.wireguard import WireGuardPeer
from edge.proto.types import Address
from scenarios.fabric.netns import uapi
from scenarios.fabric.netns.places import TUNNEL
from scenarios.world import End, World

PROFILE = "/run/poplab.yaml"
"""The file of a daemon, which nobody else sees and which vanishes with it."""
XRAY = "import sys, xray; xray.startFromJSON(sys.stdin.read())"
UNTIL_UP = 25
"""Seconds: a WireGuard peer that keeps itself alive begins by itself, without waiting for a packet."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a program; `files` are for it alone, and so is the folder of its sockets if it `talks`."""

    argv: tuple[str, ...]
    stdin: bytes = field(default=b"", repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    talks: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a far end knows of the PoP, and the PoP of it: addresses are those of this world."""

    end: End
    config: EdgeConfig
    server: Server | None

    @property
    def tunnel(self) -> TunnelConfig:
        return self.config.tunnels[self.end.name]

    @classmethod
    def of(cls, end: End, world: World, wireguard: Address, masque: Address | None) -> Told:
        config = replace(world.config, listen=wireguard)
        server = None
        if config.masque is not None and world.certificate is not None and masque is not None:
            config = replace(config, masque=replace(config.masque, listen=masque))
            certificate = leaf(world.certificate.pem)
            assert certificate is not None and config.masque is not None
            authority = world.certificate.pem.decode()
            server = Server(config, config.masque, HostPort(masque), certificate, authority)
        return cls(end, config, server)

    @property
    def keepalive(self) -> int:
        """Whole seconds; 0 for none."""
        return ceil(self.end.keepalive or 0)

    def wireguard_profile(self) -> str:
        peer = WireGuardPeer(
            "", self.keepalive, self.end.private_key, self.end.preshared_key, for_poplab=True
        )
        return peer.text(self.config, self.tunnel)

    def masque_profile(self) -> str:
        assert self.server is not None
        return poplab(self.server, self.tunnel, self.end.token.decode())


@dataclass(frozen=True)
class Program(ABC):
    """One kind of agent, for one tunnel. Secrets go to it by ways that leave nothing behind."""

    name: ClassVar[str]
    sets_up: ClassVar[bool] = False
    """Whether it gives its interface addresses and routes by itself."""
    waits: ClassVar[bool] = False
    """Whether it dials only when there is something to send."""

    told: Told

    @abstractmethod
    def launch(self) -> Launch: ...

    async def begun(self, folder: Path) -> None:  # noqa: B027 - most have heard all
        """Its interface is there: tell it what it could not be told at the start. OSError if it does not listen."""

    async def came_up(self, folder: Path) -> None:  # noqa: B027 - likewise
        """The PoP has seen it."""


@dataclass(frozen=True)
class Daemon(Program):
    """`poplab client` or `poplab connector`, as an operator runs it."""

    name = "poplab"
    sets_up = True

    mode: str = ""
    """How packets of the site find the connector."""

    def launch(self) -> Launch:
        end = self.told.end
        words = ["connector", "--mode", self.mode] if end.kind is Kind.CONNECTOR else ["client"]
        argv = (sys.executable, "-m", "scenarios", *words, "--name", TUNNEL, PROFILE)
        return Launch(argv, files={PROFILE: self._profile(end)})

    def _profile(self, end: End) -> str:
        if end.tunnel == "wireguard":
            return self.told.wireguard_profile()
        text = self.told.masque_profile()
        if end.tunnel == "auto":
            text += "wireguard:\n" + self.told.wireguard_profile().partition("\nwireguard:\n")[2]
        return text


class WireGuardGo(Program):
    """WireGuard by other people, in user space; it is configured through its socket."""

    name = "wireguard-go"

    def launch(self) -> Launch:
        return Launch((self.name, "-f", TUNNEL), talks=True)

    async def begun(self, folder: Path) -> None:
        end, config = self.told.end, self.told.config
        await uapi.configure(
            folder,
            TUNNEL,
            private_key=end.private_key,
            peer=public_key(config.private_key),
            preshared_key=end.preshared_key,
            endpoint=config.listen,
            keepalive=self.told.keepalive or UNTIL_UP,
        )

    async def came_up(self, folder: Path) -> None:
        if not self.told.keepalive:
            await uapi.keep_alive(folder, TUNNEL, peer=public_key(self.told.config.private_key), seconds=0)


class Xray(Program):
    """Xray's MASQUE client behind a TUN device of its own: it takes connections apart, and makes new ones."""

    name = "xray"
    waits = True

    def launch(self) -> Launch:
        return Launch((sys.executable, "-c", XRAY), stdin=self._document().encode())

    def _document(self) -> str:
        """As `add-client --for xray` writes it, with a device in the place of the SOCKS proxy."""
        assert self.told.server is not None
        document = json.loads(xray(self.told.server, self.told.tunnel, self.told.end.token.decode()))
        settings = {"name": TUNNEL, "mtu": self.told.end.mtu}
        document["inbounds"] = [{"protocol": "tun", "settings": settings}]
        document["log"] = {"loglevel": "info"}
        return json.dumps(document)


def program(told: Told, mode: str = "") -> Program:
    """Of the agent that its far end has."""
    match told.end.agent:
        case "wireguard-go":
            return WireGuardGo(told)
        case "xray":
            return Xray(told)
    return Daemon(told, mode)


def environment() -> dict[str, str]:
    """Nothing of ours but where programs and modules are."""
    root = str(Path(scenarios.__file__).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(paths),
        "LANG": "C.UTF-8",
        "LOG_LEVEL": "error",  # of wireguard-go
        "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1",  # it would only talk about it
    }
