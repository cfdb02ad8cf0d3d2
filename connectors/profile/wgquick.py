"""The file that `wg-quick` reads, and every WireGuard app writes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface, ip_network
from typing import TypeVar

from connectors.profile.addresses import fault
from connectors.profile.types import Profile, WireGuardServer
from connectors.proto.interface_plan import HostAddress
from connectors.proto.split_tunnel import Network
from edge.document import HostPort, did_you_mean, key_bytes
from edge.errors import ConfigError, Problem

DEFAULT_MTU = 1420  # as wg-quick takes it for a path of 1500
MAX_PROBLEMS = 100  # then it is another kind of file

T = TypeVar("T")

_COMMANDS = ("preup", "postup", "predown", "postdown")
_KNOWN = {
    "interface": {
        key.lower(): key
        for key in (
            *("PrivateKey", "Address", "MTU", "DNS", "ListenPort", "Table", "FwMark", "SaveConfig"),
            *("PreUp", "PostUp", "PreDown", "PostDown"),
        )
    },
    "peer": {
        key.lower(): key
        for key in ("PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive")
    },
}


def parse(text: str, file: str, name: str) -> Profile:
    """The profile, called `name`: the file has no place for one. ConfigError with all that is wrong."""
    return _Reader(text, file).profile(name)


class _Reader:
    """Values by (section, key), each with its place."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.values: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        section = ""
        for number, line in enumerate(text.split("\n"), 1):
            content = line.partition("#")[0].rstrip()
            column = len(content) - len(content.lstrip()) + 1
            content = content.strip()
            if len(self.problems) >= MAX_PROBLEMS:
                break
            if not content:
                continue
            if content.startswith("["):
                section = self._section(content, number, column, section)
            else:
                self._line(content, number, column, section)

    def _problem(self, line: int, column: int, message: str, fix: str) -> None:
        self.problems.append(Problem(self.file, line, column, message, fix))

    def _section(self, content: str, line: int, column: int, before: str) -> str:
        section = content.strip("[]").lower()
        if section not in _KNOWN:
            self._problem(line, column, f"unknown section {content}", "[Interface] or [Peer]")
        elif section == "peer" and before == "peer":
            self._problem(
                line, column, "a second [Peer]: a tunnel leads to one PoP", "a file for each tunnel"
            )
        return section

    def _line(self, content: str, line: int, column: int, section: str) -> None:
        key, equals, value = content.partition("=")
        word, value = key.strip().lower(), value.strip()
        known = _KNOWN.get(section, {})
        if not equals or not value:
            self._problem(line, column, "not `Key = value`", "complete it, or delete the line")
        elif not section:
            self._problem(line, column, "a key before the first section", "[Interface] above it")
        elif word in _COMMANDS:
            self._problem(line, column, f"{known[word]}: no commands are run", "delete the line")
        elif word in ("table", "fwmark", "saveconfig"):
            self._problem(
                line,
                column,
                f"{known[word]} is not supported: routes are set up otherwise",
                "delete the line",
            )
        elif word in known:
            at = column + content.index("=") + 1
            at += len(content[content.index("=") + 1 :]) - len(content[content.index("=") + 1 :].lstrip())
            self.values.setdefault((section, word), []).append((line, at, value))
        elif section in _KNOWN:
            self._problem(
                line, column, f"unknown key {key.strip()!r}", did_you_mean(key.strip(), known.values())
            )

    def profile(self, name: str) -> Profile:
        private = self._one("interface", "privatekey", _key)
        public = self._one("peer", "publickey", _key)
        preshared = self._one("peer", "presharedkey", _key, required=False)
        endpoint = self._one("peer", "endpoint", HostPort.parse)
        addresses = self._many("interface", "address", _address)
        reaches = self._many("peer", "allowedips", _network)
        mtu = self._one("interface", "mtu", _number(576, 65455), required=False)
        port = self._one("interface", "listenport", _number(0, 65535), required=False)
        keepalive = self._one("peer", "persistentkeepalive", _keepalive, required=False)
        for address in addresses:
            if wrong := fault(address, mtu or DEFAULT_MTU):
                self._problem(
                    self.values["interface", "address"][0][0], 1, wrong, "the file as it was printed"
                )
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))
        assert private is not None and public is not None and endpoint is not None
        server = WireGuardServer(endpoint, public, private, preshared, keepalive or None, port or 0)
        return Profile(
            name=name,
            kind=None,
            tunnel="wireguard",
            addresses=tuple(addresses),
            mtu=mtu or DEFAULT_MTU,
            reaches=tuple(reaches),
            wireguard=server,
        )

    def _one(self, section: str, word: str, parse: Callable[[str], T], *, required: bool = True) -> T | None:
        found = self.values.get((section, word), [])
        title, key = section.capitalize(), _KNOWN[section][word]
        if not found:
            if required:
                self._problem(0, 0, f"no {key} in [{title}]", "the file as it was printed")
            return None
        if len(found) > 1:
            self._problem(found[1][0], found[1][1], f"a second {key}", "keep one of the two")
        line, column, value = found[0]
        try:
            return parse(value)
        except ValueError as error:
            self._problem(line, column, f"{key}: {error}", "")
            return None

    def _many(self, section: str, word: str, parse: Callable[[str], T]) -> list[T]:
        found: list[T] = []
        places = self.values.get((section, word), [])
        if not places:
            key = _KNOWN[section][word]
            self._problem(0, 0, f"no {key} in [{section.capitalize()}]", "the file as it was printed")
        for line, column, value in places:
            at = 0
            for part in value.split(","):
                where = column + at + len(part) - len(part.lstrip())
                at += len(part) + 1
                try:
                    found.append(parse(part.strip()))
                except ValueError as error:
                    self._problem(line, where, str(error), "")
        return found


def _key(value: str) -> bytes:
    key = key_bytes(value)
    if key is None:  # not repeated: it may be the private one
        raise ValueError("not a WireGuard key of 44 base64 characters")
    return key


def _address(value: str) -> HostAddress:
    return ip_interface(value).ip


def _network(value: str) -> Network:
    return ip_network(value, strict=False)  # as wg takes it


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit()) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not a number from {low} to {high}")
        return int(value)

    return parse


def _keepalive(value: str) -> int:
    return 0 if value.lower() == "off" else _number(0, 65535)(value)
