"""What a connector needs beside its tunnel, and what it says is to be done elsewhere."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from connectors.deployment import Mode, instructions
from connectors.notify import notify
from connectors.proto.interface_plan import Neighbour
from connectors.systemd import unit
from edge.errors import Refused

SITE = (ip_network("10.0.50.0/24"), ip_network("fd00:50::/64"))
REACHES = (ip_network("100.96.0.0/12"), ip_network("fd00:96::/64"))
AROUND = (
    Neighbour("eth1", ip_interface("192.0.2.9/24")),
    Neighbour("eth0", ip_interface("10.0.50.2/24")),
    Neighbour("eth0", ip_interface("fd00:50::2/64")),
)


@pytest.mark.parametrize(
    ("mode", "lines", "words"),
    [
        (
            Mode.DEFAULT_GATEWAY,
            ["ip route replace default via 10.0.50.2", "ip -6 route replace default via fd00:50::2"],
            "DHCP option 3",
        ),
        (
            Mode.INTERMEDIATE_GATEWAY,
            [
                "ip route add 100.96.0.0/12 via 10.0.50.2",
                "ip -6 route add fd00:96::/64 via fd00:50::2",
            ],
            "on the router",
        ),
        (
            Mode.PER_HOST,
            [
                "ip route add 100.96.0.0/12 via 10.0.50.2",
                "ip -6 route add fd00:96::/64 via fd00:50::2",
            ],
            "on every host",
        ),
    ],
)
def test_every_mode_has_lines_to_type(mode, lines, words):
    said = instructions(mode, SITE, REACHES, AROUND)
    assert [line.strip() for line in said if line.startswith(" ")] == lines
    assert words in "\n".join(said)


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        (Mode.DEFAULT_GATEWAY, ["ip route replace default via 10.0.50.2"]),
        (Mode.PER_HOST, ["ip route replace default via 10.0.50.2"]),
        (Mode.INTERMEDIATE_GATEWAY, ["ip route add 100.96.0.0/12 via 10.0.50.2"]),  # else it has two defaults
    ],
)
def test_everything_is_never_a_second_default_route(mode: Mode, lines: list[str]):
    said = instructions(mode, SITE[:1], [ip_network("0.0.0.0/0"), REACHES[0]], AROUND)
    assert [line.strip() for line in said if line.startswith(" ")] == lines
    assert (mode is Mode.INTERMEDIATE_GATEWAY) == any("cannot come by the router" in line for line in said)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_to_be_done_for_one_version_of_ip_names_no_prefix_of_the_other(mode: Mode):
    heads = [line for line in instructions(mode, SITE, REACHES, AROUND) if not line.startswith(" ")]
    assert [[str(prefix) in head for prefix in SITE] for head in heads] == [[True, False], [False, True]]
    lost = [line for line in instructions(mode, SITE, REACHES, ()) if "no address in" in line]
    assert [[str(prefix) in line for prefix in SITE] for line in lost] == [[True, False], [False, True]]


def test_a_machine_that_is_not_on_the_lan_is_told_so():
    said = "\n".join(instructions(Mode.PER_HOST, SITE[:1], REACHES, AROUND[:1]))
    assert "no address in 10.0.50.0/24" in said and "via THIS-MACHINE" in said


def test_a_default_route_does_not_make_loopback_the_gateway():
    around = [Neighbour("lo", ip_interface("127.0.0.1/8")), AROUND[1]]
    said = instructions(Mode.DEFAULT_GATEWAY, [ip_network("0.0.0.0/0")], REACHES, around)
    assert "    ip route replace default via 10.0.50.2" in said


def test_the_unit_has_one_capability_and_no_secret():
    text = unit(
        role="connector", name="hq", file=Path("/etc/poplab/hq.yaml"), command=["/usr/bin/poplab"],
        options=["--name", "poplab0"], connector=True,
    )  # fmt: skip
    assert "ExecStart=/usr/bin/poplab connector --name poplab0 %d/profile\n" in text
    assert "LoadCredential=profile:/etc/poplab/hq.yaml\n" in text
    assert "CapabilityBoundingSet=CAP_NET_ADMIN\n" in text and "DynamicUser=yes\n" in text


HOSTILE = {
    "role": "client",
    "name": "a\nb %n c",
    "file": Path("/etc/my %n files/it's $HOME.conf"),
    "command": ["/opt/my programs/poplab"],
    "options": ["--name", '50%"$x'],
    "connector": False,
}


def test_no_name_means_something_to_systemd():
    text = unit(**HOSTILE)
    assert "Description=poplab client a-b--n-c\n" in text
    assert "LoadCredential=profile:/etc/my %%n files/it's $HOME.conf\n" in text
    assert 'ExecStart="/opt/my programs/poplab" client --name "50%%\\"$$x" %d/profile\n' in text
    with pytest.raises(Refused, match="cannot stand in a unit"):
        unit(**HOSTILE | {"file": Path("/etc/a\nExecStartPre=/bin/sh")})


def test_systemd_takes_the_unit(tmp_path: Path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here: it comes with systemd")
    file = tmp_path / "poplab-a.service"
    file.write_text(unit(**HOSTILE | {"command": [sys.executable, "-m", "scenarios"]}))
    done = subprocess.run(
        [program, "verify", "--man=no", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "poplab-a" in line]
    assert not ours and done.returncode == 0, done.stderr


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert sock.recv(100) == b"READY=1"
    notify("nobody listens any more")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("nobody wants to know")
