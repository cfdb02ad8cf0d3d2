"""The file that `wg-quick` reads, taken apart: what `wg setconf` understands, and what `ip` has to do."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

#: Keys of [Interface] that belong to wg-quick alone; `wg setconf` refuses them.
_NOT_WG = frozenset(
    {"address", "dns", "mtu", "table", "preup", "postup", "predown", "postdown", "saveconfig"}
)


@dataclass(frozen=True)
class QuickConfig:
    addresses: tuple[str, ...]
    allowed: tuple[str, ...]
    mtu: int
    setconf: str
    private_key: str
    peer_key: str
    preshared_key: str
    endpoint: tuple[str, int]

    @property
    def v4(self) -> str:
        return self._address(4)

    @property
    def v6(self) -> str:
        return self._address(6)

    def with_preshared_key(self, key: str) -> QuickConfig:
        """The same file with another preshared key, in both places."""
        return replace(self, preshared_key=key, setconf=self.setconf.replace(self.preshared_key, key))

    def _address(self, version: int) -> str:
        interfaces = [ipaddress.ip_interface(text) for text in self.addresses]
        return next(str(i.ip) for i in interfaces if i.version == version)


def parse(text: str) -> QuickConfig:
    kept: list[str] = []
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        stripped = line.split("#", 1)[0].strip()
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if equals:
            values.setdefault(key.lower(), []).extend(part.strip() for part in value.split(","))
            if key.lower() in _NOT_WG:
                continue
        if stripped:
            kept.append(stripped)
    host, _, port = values["endpoint"][0].rpartition(":")
    return QuickConfig(
        addresses=tuple(values["address"]),
        allowed=tuple(values["allowedips"]),
        mtu=int(values.get("mtu", ["1420"])[0]),
        setconf="\n".join(kept) + "\n",
        private_key=values["privatekey"][0],
        peer_key=values["publickey"][0],
        preshared_key=values.get("presharedkey", [""])[0],
        endpoint=(host.strip("[]"), int(port)),
    )
