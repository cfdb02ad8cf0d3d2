"""Machines that do not exist, for the doctor to look at."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence

from scenarios.doctor import Attempt, Machine
from scenarios.doctor.namespaces import APPARMOR, LIMIT, STATUS

EVERY_CAPABILITY = "CapEff:\t000001ffffffffff\nSeccomp:\t0"
NO_CAPABILITY = "CapEff:\t0000000000000000\nSeccomp:\t0"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
ROOM = ("network-namespace", "mount-namespace", "pid-namespace")
REFUSED = Attempt(
    "no", "write to /proc/self/uid_map: Operation not permitted", errno.EPERM, "write to /proc/self/uid_map"
)
INSIDE = (
    "veth",
    "bridge",
    "tun",
    "tun-offload",
    "policy-routing",
    "raw-sockets",
    "packet-sockets",
    "ipv6",
    "nf-tables",
    "vrf",
    "netem",
)


class Imagined(Machine):
    """Has everything, unless told otherwise. `attempts` and `files` replace single ones."""

    def __init__(
        self,
        *,
        root: bool = False,
        system: str = "Linux",
        attempts: Mapping[str, Attempt] | None = None,
        files: Mapping[str, str] | None = None,
        existing: Iterable[str] = (),
        programs: bool = True,
        modules: bool = True,
        tun: str = "crw-rw-rw-",
        soft: int = 65536,
        startable: bool = True,
    ) -> None:
        super().__init__()
        self._root, self._system = root, system
        self._results = attempts or {}
        self._files = {
            "/etc/os-release": DEBIAN,
            LIMIT: "15000",
            STATUS: EVERY_CAPABILITY if root else NO_CAPABILITY,
        } | dict(files or {})
        self._existing = set(existing)
        self._programs, self._modules, self._tun, self._soft = programs, modules, tun, soft
        self._startable = startable
        self.asked: list[str] = []
        """What was tried."""

    @property
    def system(self) -> str:
        return self._system

    @property
    def root(self) -> bool:
        return self._root

    @property
    def python(self) -> str:
        return "3.13.1"

    @property
    def interpreter(self) -> str:
        return "/root/venv/bin/python3"

    @property
    def startable(self) -> bool:
        return self._startable

    def read(self, path: str) -> str | None:
        return self._files.get(path)

    def exists(self, path: str) -> bool:
        return path in self._existing

    def mode(self, path: str) -> str:
        return self._tun

    def usable(self, path: str) -> bool:
        return self._root or self._tun.endswith("rw-")

    def open_files(self) -> tuple[int, int]:
        return self._soft, 1 << 20

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if self._programs else None

    def which_beside_path(self, program: str) -> str | None:
        return "/usr/sbin/sshd" if program == "sshd" else None

    def has_module(self, name: str) -> bool:
        return self._modules

    def version(self, package: str) -> str | None:
        return "1.2.3" if self._modules else None

    def openssl(self) -> str:
        if not self._modules:
            raise ImportError("No module named 'cryptography'")
        return "OpenSSL 3.5.0"

    def many_datagrams(self) -> bool:
        return self._modules

    def versions(self, commands: Mapping[str, Sequence[str]]) -> dict[str, str]:
        return dict.fromkeys(commands, "1.0")

    def attempt(self, names: Iterable[str]) -> dict[str, Attempt]:
        self.asked = list(names)
        if not self._startable:
            why = Attempt("unanswered", f"{self.interpreter}: Permission denied", errno.EACCES)
            return dict.fromkeys(self.asked, why)
        found = {name: Attempt("yes", "it works") for name in self.asked}
        found["ordinary-user-namespace"] = Attempt("yes", "it works")
        return found | dict(self._results)


def without_namespaces(why: Attempt = REFUSED) -> dict[str, Attempt]:
    """What is tried where no namespace can be made."""
    refused = dict.fromkeys(("user-namespace", "ordinary-user-namespace", *ROOM), why)
    return refused | dict.fromkeys(INSIDE, Attempt("untried", why.detail, why.errno, why.step))


def ubuntu(*, root: bool = False) -> Imagined:
    """Release 24.04: AppArmor lets ordinary users make a user namespace, and refuses the map."""
    files = {"/etc/os-release": 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"', APPARMOR: "1"}
    attempts = {"ordinary-user-namespace": REFUSED} if root else without_namespaces()
    return Imagined(root=root, files=files, attempts=attempts)


def bare() -> Imagined:
    """Nothing works, and nothing is installed."""
    no = Attempt("no", "Operation not supported", errno.EOPNOTSUPP)
    sockets = dict.fromkeys(("udp", "udp-gso", "udp-gro", "udp-buffers", "icmp-sockets"), no)
    files = {STATUS: "CapEff:\t0\nSeccomp:\t2"}
    return Imagined(
        attempts=without_namespaces() | sockets,
        files=files,
        programs=False,
        modules=False,
        tun="",
        soft=1024,
    )
