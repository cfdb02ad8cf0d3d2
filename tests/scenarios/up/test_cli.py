"""`poplab up`: what it prints for a device, what it keeps, what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge import enrol
from scenarios.cli import poplab
from scenarios.up import address, keys

ROOT = Path(__file__).parents[3]
LAB = ROOT / "scenarios" / "labs" / "first-lab.yaml"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(poplab, ["up", *map(str, arguments)])


def kept(
    *arguments: str, wait_for: str = "desk registered", by: signal.Signals = signal.SIGINT
) -> tuple[int, str]:
    """Exit code and output of one that was ended by a signal, such as that of Ctrl-C, once it had said `wait_for`."""
    command = [sys.executable, "-m", "scenarios", "up", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    said = ""
    deadline = time.monotonic() + 60
    while wait_for not in said:
        line = process.stdout.readline()
        assert line and time.monotonic() < deadline, said
        said += line
    process.send_signal(by)
    said += process.stdout.read()
    process.stdout.close()
    return process.wait(30), said


def test_it_stays_until_ctrl_c_and_keeps_what_the_device_was_given(tmp_path: Path) -> None:
    state, out = tmp_path / "keys", tmp_path / "out"
    arguments = (str(LAB), "--listen", "127.0.0.1:0", "--state", str(state), "--out", str(out))
    code, said = kept(*arguments)
    assert code == 0, said
    assert "phone  100.96.0.20\n" in said
    assert f"WireGuard file: {state / 'phone.conf'}   on the device: wg-quick up ./phone.conf\n" in said
    assert f"QR code for the WireGuard app: {state / 'phone.svg'}\n" in said
    assert re.search(r"SIP at hq/pbx: user phone, password \S{12}, server 10.0.50.60\n  call 600: ", said)
    assert "loopback, which nobody else reaches" in said
    assert "shell on" not in said and "no-spoofing)" not in said, "no machine is real"
    assert said.splitlines()[-1].startswith("STOPPED first-lab in ")
    files = {path.name: path for path in state.iterdir()}
    devices = [f"{name}.{kind}" for name in ("phone", "laptop") for kind in ("key", "psk", "conf", "svg")]
    assert set(files) == {"pop.key", *devices}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    config = files["phone.conf"].read_text()
    assert files["phone.svg"].read_text() == enrol.qr_picture(config)
    assert "Address = 100.96.0.20/32" in config
    assert "AllowedIPs = 100.96.0.0/24, 10.0.50.0/24" in config
    secrets = [path.read_text().strip() for name, path in files.items() if name.endswith((".key", ".psk"))]
    password = re.search(r"password (\S+),", said)[1]  # type: ignore[index]
    reports = "".join(path.read_text() for path in out.rglob("*") if path.is_file())
    assert "first-lab" in reports
    assert not any(secret in said + reports for secret in secrets)
    assert password not in reports
    again = kept(*arguments)[1]
    assert files["phone.conf"].read_text().replace("\n", "") != ""
    assert re.search(r"password (\S+),", again)[1] == password  # type: ignore[index]
    assert [
        path.read_text().strip() for name, path in files.items() if name.endswith((".key", ".psk"))
    ] == secrets


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_without_a_state_nothing_is_left_behind(by: signal.Signals) -> None:
    code, said = kept(str(LAB), "--listen", "127.0.0.1:0", by=by)
    assert code == 0
    path = Path(re.search(r"WireGuard file: (\S+)", said)[1])  # type: ignore[index]
    assert not path.parent.exists()


def test_a_port_that_is_taken_is_refused_with_a_fix() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = invoke(LAB, "--listen", f"127.0.0.1:{port}")
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}: the port is taken by another process\n" in result.output
    assert "fix: choose another port in --listen ADDRESS:PORT, or " in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--fabric", "sim"), "virtual time"),
        (("--fabric", "loopback,netns"), "one world is kept up"),
        (("--fabric", "moon"), "no fabric 'moon'\n    fix: known: loopback, netns\n"),
        (("--qr", "phon"), "did you mean 'phone'?"),
        (("--listen", "anywhere"), "write ADDRESS:PORT"),
        (("--listen", "127.0.0.1:0", "--endpoint", "here"), "write HOST:PORT"),
    ],
)
def test_what_cannot_be_is_refused_with_a_fix(arguments: tuple[str, ...], text: str) -> None:
    result = invoke(LAB, *arguments)
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "fix: " in result.output


def test_a_file_for_virtual_time_alone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB.read_text().replace("fabric: [loopback, netns, sim]", "fabric: sim"))
    assert "virtual time" in invoke(file).output
    assert "not on loopback" in invoke(file, "--fabric", "loopback").output


def test_keys_that_others_may_read_are_not_used(tmp_path: Path) -> None:
    keys.identities(tmp_path, ["phone"])
    (tmp_path / "phone.key").chmod(0o644)
    result = invoke(LAB, "--state", tmp_path, "--listen", "127.0.0.1:0")
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_keys_stay_and_are_in_no_text(tmp_path: Path) -> None:
    first, second = (keys.identities(tmp_path, ["phone"]) for _ in range(2))
    assert first == second
    other = keys.identities(tmp_path, ["laptop"])
    assert other.pop == first.pop
    assert other.outside["laptop"] != first.outside["phone"]
    assert repr(first.pop) not in repr(first)
    assert repr(first.outside["phone"].private_key) not in repr(first.outside["phone"])


def test_the_address_that_devices_dial() -> None:
    assert str(address.endpoint("lab.example:1", ("0.0.0.0", 7))) == "lab.example:1"
    assert str(address.endpoint("", ("192.0.2.7", 7))) == "192.0.2.7:7"
    guessed = address.endpoint("", ("0.0.0.0", 7))
    assert guessed[0] == (address.outward(socket.AF_INET) or "127.0.0.1")
    assert guessed[1] == 7
    assert address.is_loopback("127.0.0.1") and address.is_loopback("localhost")
    assert not address.is_loopback("192.0.2.7") and not address.is_loopback("lab.example")


def test_the_lab_passes_without_your_devices() -> None:
    result = CliRunner().invoke(poplab, ["run", str(LAB), "--fabric", "sim"])
    assert result.exit_code == 0, result.output
