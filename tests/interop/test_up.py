"""`poplab up` and a device that is not ours: wireguard-go and a real softphone in a namespace, joined by a cable.

They are set up from nothing but what the command printed, as a person with a telephone would do.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import stat
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scenarios import doctor
from tests.interop.conftest import LISTEN, Star
from tests.interop.hubs import REPOSITORY
from tests.interop.namespaces import wait_for
from tests.interop.peers import WireguardGoPeer

if TYPE_CHECKING:
    from tests.interop.namespaces import Namespace, Process

pytestmark = pytest.mark.interop

POPLAB = (sys.executable, "-m", "scenarios")
LAB = REPOSITORY / "scenarios" / "labs" / "first-lab.yaml"
START = 30.0  # seconds; a busy machine takes a few
WEB, PBX = "10.0.50.80", "10.0.50.60"
PHONE = "100.96.0.20"

FETCH = """
import sys, urllib.request, urllib.error
try:
    with urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2])) as page:
        print(page.status, page.read().decode())
except OSError as error:
    print("no answer", error)
"""


class Kept:
    """A world that `poplab up` keeps in the middle of a star, and what it says."""

    def __init__(self, star: Star, directory: Path, fabric: str, text: str = "") -> None:
        self.star, self.directory = star, directory
        self.file = directory / "lab.yaml"
        self.file.write_text(text or LAB.read_text())
        self.state = directory / "keys"
        self.command = (
            *POPLAB, "up", str(self.file), "--fabric", fabric,
            "--endpoint", f"{LISTEN[0]}:{LISTEN[1]}", "--state", str(self.state),
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        self.log = self.directory / "up.log"
        self.log.write_text("")
        self.process: Process = self.star.middle.start(
            *self.command, log=self.log, PYTHONPATH=str(REPOSITORY), PYTHONUNBUFFERED="1"
        )
        self.says("desk registered from 10.0.50.101")

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line with it."""

        def found() -> re.Match[str] | None:
            assert self.process.alive, self.output
            return re.search(pattern, self.output)

        wait_for(found, f"{pattern!r} in {self.log.name}", timeout=START)
        match = found()
        assert match is not None
        return match

    @property
    def output(self) -> str:
        return self.process.output()

    def device(self, name: str) -> WireguardGoPeer:
        """As a person does: import the file that is named."""
        path = Path(self.says(rf"WireGuard file: (\S+/{name}\.conf)")[1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        peer = WireguardGoPeer(self.star.outside(name), self.directory, path.read_text())
        peer.up()
        return peer

    def stop(self) -> int:
        return self.process.stop(signal.SIGINT, timeout=20.0)


def page(space: Namespace, *, patience: float = 5.0) -> str:
    return space.run(sys.executable, "-c", FETCH, f"http://{WEB}/", str(patience))


@pytest.fixture(params=["loopback", "netns"])
def kept(star: Star, tmp_path: Path, request: pytest.FixtureRequest) -> Kept:
    if request.param == "netns":
        lacking = [each for each in doctor.examine(["netns"]) if not each.there]
        if lacking:
            pytest.skip(lacking[0].sentence)
    return Kept(star, tmp_path, request.param)


def test_a_telephone_joins_reads_the_page_and_is_seen_as_who_it_is(kept: Kept) -> None:
    phone = kept.device("phone")
    assert page(phone.space).startswith("200 Hello from hq/web")
    outer = kept.star.address_of("phone")
    kept.says(rf"phone is here, from {outer}:\d+")
    kept.says(rf"hq/web GET / from {PHONE} \(phone\): 200")
    kept.says(rf"hq/web hears from {PHONE}, the true source of phone")
    assert phone.ping(PBX, 3)["received"] == 3
    laptop = kept.device("laptop")
    assert laptop.ping(PHONE, 3)["received"] == 3
    assert kept.stop() == 0, kept.output
    assert "STOPPED first-lab" in kept.output
    assert "FAIL" not in kept.output
    assert "ok    no-spoofing: 0 of" in kept.output


def test_a_policy_that_is_saved_is_in_force_and_says_what_it_stops(kept: Kept) -> None:
    phone = kept.device("phone")
    assert page(phone.space).startswith("200")
    text = kept.file.read_text()
    assert "ports: tcp/80, action: allow" in text
    kept.file.write_text(text.replace("ports: tcp/80, action: allow", "ports: tcp/80, action: block"))
    kept.says("policy the file has changed, and its policy is in force")
    assert page(phone.space, patience=1.0).startswith("no answer")
    kept.says(rf"dropped {PHONE} -> {WEB}:80 tcp from phone: policy_blocked, rule web")
    kept.file.write_text(text.replace("ports: tcp/80, action: allow", "ports: tcp/80, action: perhaps"))
    kept.says(r"policy not in force: .*lab.yaml:\d+:\d+: .*fix: ")
    kept.file.write_text(text)
    wait_for(lambda: page(phone.space, patience=1.0).startswith("200"), "the page again")


def test_the_next_time_the_telephone_need_not_be_set_up_again(kept: Kept) -> None:
    phone = kept.device("phone")
    assert page(phone.space).startswith("200")
    password = kept.says(r"user phone, password (\S+),")[1]
    assert kept.stop() == 0
    kept.start()
    assert kept.says(r"user phone, password (\S+),")[1] == password
    wait_for(lambda: page(phone.space, patience=2.0).startswith("200"), "the page", timeout=START)
    private = (kept.state / "phone.key").read_text().strip()
    assert private in (kept.state / "phone.conf").read_text()
    assert private not in kept.output


BARESIP = """
poll_method poll
sip_listen {address}:5060
audio_source aufile,{directory}/tone.wav
module_path {modules}
module g711.so
module aufile.so
module_app account.so
module_app menu.so
"""


def write_tone(path: Path, seconds: float = 10.0) -> None:
    """440 Hz as telephones have it: 8 kHz, one channel."""
    samples = (round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(int(8000 * seconds)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


def modules() -> Path | None:
    found = [*Path("/usr/lib").glob("*/baresip/modules"), *Path("/usr/lib").glob("baresip/modules")]
    return found[0] if found and shutil.which("baresip") else None


@pytest.mark.parametrize("callee", ["600", "bob"])
def test_a_softphone_with_the_printed_account_calls(kept: Kept, tmp_path: Path, callee: str) -> None:
    there = modules()
    if there is None:
        pytest.skip("no baresip here: apt install baresip-core")
    phone = kept.device("phone")
    account = kept.says(r"user (\S+), password (\S+), server (\S+)")
    folder = tmp_path / "baresip"
    folder.mkdir()
    (folder / "config").write_text(BARESIP.format(address=PHONE, directory=folder, modules=there))
    user, password, server = account.groups()
    (folder / "accounts").write_text(
        f"<sip:{user}@{server}>;auth_pass={password};regint=60;audio_codecs=PCMU\n"
    )
    (folder / "contacts").write_text("")
    write_tone(folder / "tone.wav")
    softphone = phone.space.start(
        "baresip", "-f", str(folder), "-e", f"/dial sip:{callee}@{server}", "-t", "8", log=tmp_path / "baresip.log",
        HOME=str(folder), TERM=os.environ.get("TERM", "dumb"),
    )  # fmt: skip
    kept.says(rf"hq/pbx phone registered from {PHONE}, the true source of phone")
    kept.says(r"hq/pbx phone talks with 600" if callee == "600" else r"hq/pbx bob answers phone")
    kept.says(
        r"hq/pbx phone and 600 are done" if callee == "600" else r"hq/pbx the call of phone to bob ended"
    )
    wait_for(lambda: not softphone.alive, "the softphone to end")
    rates = re.findall(r"audio=(\d+)/(\d+)", softphone.output())
    assert any(int(sent) and int(heard) for sent, heard in rates), "bits per second that it sends, and hears"
    assert kept.stop() == 0
    listener = "hq/pbx" if callee == "600" else "bob"
    assert re.search(rf"call  phone -> {callee}: .*{listener} heard MOS", kept.output), kept.output


REAL_WEB = """\
        web:
          ip: 10.0.50.80
          app:
            exec:
              - name: pages
                run: [python3, -m, http.server, "80"]
                files: {index.html: "Hello from a real web server"}
                ready: {tcp: 80}
"""


def test_a_real_web_server_and_a_real_telephone(star: Star, tmp_path: Path) -> None:
    """All that they send is in the books before it is judged, although kernels carry it."""
    lacking = [each for each in doctor.examine(["netns"]) if not each.there]
    if lacking:
        pytest.skip(lacking[0].sentence)
    web = re.compile(r"^        web: .*\n", re.MULTILINE)
    text = LAB.read_text().replace("fabric: [loopback, netns, sim]", "fabric: netns")
    text = web.sub(lambda _: REAL_WEB, text.partition("steps:")[0])
    kept = Kept(star, tmp_path, "netns", text)
    phone = kept.device("phone")
    wait_for(lambda: "Hello from a real web server" in page(phone.space), "the page", timeout=START)
    for _ in range(20):
        assert page(phone.space).startswith("200")
    kept.says(rf"hq/web hears from {PHONE}, the true source of phone")
    assert kept.stop() == 0, kept.output
    assert "FAIL" not in kept.output
