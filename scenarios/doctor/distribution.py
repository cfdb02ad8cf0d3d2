"""Which distribution this is, and what its package manager is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum


class Packager(StrEnum):
    APT = "apt"
    DNF = "dnf"
    PACMAN = "pacman"
    UNKNOWN = ""


INSTALL = {Packager.APT: "apt-get install", Packager.DNF: "dnf install", Packager.PACMAN: "pacman -S"}

FAMILIES = {
    "debian": Packager.APT,
    "ubuntu": Packager.APT,
    "fedora": Packager.DNF,
    "rhel": Packager.DNF,
    "centos": Packager.DNF,
    "arch": Packager.PACMAN,
}
"""By ID and ID_LIKE of os-release(5)."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A packager, and what its users write before a command that needs root."""

    packager: Packager
    root: bool = False

    @classmethod
    def of(cls, os_release: str, *, root: bool) -> Distribution:
        """From the text of /etc/os-release; a derivative is of the family that it says it is like."""
        values = {}
        for line in os_release.splitlines():
            key, sign, value = line.partition("=")
            if sign:
                values[key.strip()] = "".join(shlex.split(value)[:1]) if value.count('"') in (0, 2) else value
        for word in (values.get("ID", ""), *values.get("ID_LIKE", "").split()):
            if word in FAMILIES:
                return cls(FAMILIES[word], root)
        return cls(Packager.UNKNOWN, root)

    def as_root(self, command: str) -> str:
        return command if self.root else f"sudo {command}"

    def install(self, package: str) -> str:
        """Empty if it is not known how."""
        return self.as_root(f"{INSTALL[self.packager]} {package}") if self.packager and package else ""
