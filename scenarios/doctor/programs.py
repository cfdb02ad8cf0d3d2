"""Programs by other people: in which package they come, and how they tell their version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scenarios.doctor.distribution import Distribution, Packager

APT, DNF, PACMAN = Packager.APT, Packager.DNF, Packager.PACMAN


@dataclass(frozen=True, slots=True)
class Program:
    """`packages` has a name for each packager that is known to have it; `words` are for all others."""

    name: str
    packages: Mapping[Packager, str] = field(default_factory=dict)
    version: tuple[str, ...] = ()
    """Arguments that print it and do nothing else."""
    needed_by: str = ""
    words: str = ""

    def install(self, distribution: Distribution) -> str:
        """A command, or words."""
        command = distribution.install(self.packages.get(distribution.packager, ""))
        return command or self.words or f"install {self.name}, and have it on PATH"


def _everywhere(package: str) -> Mapping[Packager, str]:
    return MappingProxyType({APT: package, DNF: package, PACMAN: package})


def _packages(apt: str = "", dnf: str = "", pacman: str = "") -> Mapping[Packager, str]:
    names = {APT: apt, DNF: dnf, PACMAN: pacman}
    return MappingProxyType({packager: name for packager, name in names.items() if name})


INTEROP = "tests/interop"
EXEC = "hosts with `exec`"

PROGRAMS: tuple[Program, ...] = (
    Program("ip", _packages("iproute2", "iproute", "iproute2"), ("-V",), INTEROP),
    Program("unshare", _everywhere("util-linux"), ("--version",), INTEROP),
    Program("nsenter", _everywhere("util-linux"), ("--version",), INTEROP),
    Program("setpriv", _everywhere("util-linux"), ("--version",), INTEROP),
    Program(
        "wireguard-go",
        _packages("wireguard-go"),
        ("--version",),
        f"{INTEROP}, `agent`",
        "go install golang.zx2c4.com/wireguard@latest, and name the program wireguard-go",
    ),
    Program("wg", _everywhere("wireguard-tools"), ("--version",), f"{INTEROP}, make bench"),
    Program("sipp", _packages("sip-tester", "sipp"), ("-v",), EXEC),
    Program("baresip", _packages("baresip-core", "baresip"), ("-h",), EXEC),
    Program("kamailio", _packages("kamailio", "kamailio"), ("-v",), EXEC),
    Program("iperf3", _everywhere("iperf3"), ("--version",), f"{INTEROP}, `exec`"),
    Program("curl", _everywhere("curl"), ("--version",), EXEC),
    Program("git", _everywhere("git"), ("--version",), "make, `exec`"),
    Program("ssh", _packages("openssh-client", "openssh-clients", "openssh"), ("-V",), EXEC),
    Program("sshd", _packages("openssh-server", "openssh-server", "openssh"), ("-V",), EXEC),
    Program("dig", _packages("bind9-dnsutils", "bind-utils", "bind"), ("-v",), EXEC),
    Program("dnsmasq", _packages("dnsmasq-base", "dnsmasq", "dnsmasq"), ("--version",), EXEC),
    Program(
        "tshark",
        _packages("tshark", "wireshark-cli", "wireshark-cli"),
        ("--version",),
        "reading capture.pcapng",
    ),
    Program("nft", _everywhere("nftables"), ("--version",), EXEC),
)


OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "delv": "bind9-dnsutils",
        "ethtool": "ethtool",
        "fping": "fping",
        "host": "bind9-host",
        "ldapsearch": "ldap-utils",
        "mtr": "mtr-tiny",
        "named": "bind9",
        "nc": "netcat-openbsd",
        "nginx": "nginx-light",
        "nping": "nmap",
        "nslookup": "bind9-dnsutils",
        "openssl": "openssl",
        "ping": "iputils-ping",
        "python3": "python3",
        "rsync": "rsync",
        "scp": "openssh-client",
        "slapd": "slapd",
        "socat": "socat",
        "ss": "iproute2",
        "ssh-keygen": "openssh-client",
        "tcpdump": "tcpdump",
        "traceroute": "traceroute",
        "tracepath": "iputils-tracepath",
        "wget": "wget",
    }
)
"""What scenarios often run besides: program and Debian package."""


def program(name: str) -> Program:
    """What is known of a program; of one that is not listed, its name."""
    unlisted = Program(name, _packages(OTHERS.get(name, "")))
    return next((known for known in PROGRAMS if known.name == name), unlisted)
