"""Which Debian package has a program that scenarios often run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "baresip": "baresip",
        "curl": "curl",
        "delv": "bind9-dnsutils",
        "dig": "bind9-dnsutils",
        "dnsmasq": "dnsmasq-base",
        "ethtool": "ethtool",
        "fping": "fping",
        "git": "git",
        "host": "bind9-host",
        "ip": "iproute2",
        "iperf3": "iperf3",
        "kamailio": "kamailio",
        "ldapsearch": "ldap-utils",
        "mtr": "mtr-tiny",
        "named": "bind9",
        "nc": "netcat-openbsd",
        "nft": "nftables",
        "nginx": "nginx-light",
        "nping": "nmap",
        "nslookup": "bind9-dnsutils",
        "openssl": "openssl",
        "ping": "iputils-ping",
        "python3": "python3",
        "rsync": "rsync",
        "scp": "openssh-client",
        "setpriv": "util-linux",
        "sipp": "sip-tester",
        "slapd": "slapd",
        "socat": "socat",
        "ss": "iproute2",
        "ssh": "openssh-client",
        "ssh-keygen": "openssh-client",
        "sshd": "openssh-server",
        "tcpdump": "tcpdump",
        "traceroute": "traceroute",
        "tracepath": "iputils-tracepath",
        "tshark": "tshark",
        "wget": "wget",
    }
)


def missing_program(name: str) -> str:
    """What to tell who wants to run `name` and does not have it."""
    package = PACKAGES.get(name.rpartition("/")[2])
    fix = f"sudo apt-get install {package}" if package else "install it, or name it by its full path"
    return f"the program {name} is not on this machine ({fix})"
