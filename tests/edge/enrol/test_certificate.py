"""The certificate of a PoP: made with it, made later, renewed under the same key."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge import enrol
from edge.cli import edge
from edge.config import certificate_names, leaf, load, read_certificates, read_private_key, spki
from edge.enrol.authority import certificate_pem, issue, key_pem, new_authority, new_key
from edge.errors import ConfigError, Refused

FILES = ("ca.crt", "ca.key", "masque.crt", "masque.key")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return enrol.init(tmp_path / "pop", name="lab-1")


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A PoP from before there was MASQUE."""
    path = enrol.init(tmp_path / "old", name="old-1", masque=None)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("  masque: null")))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(edge, [str(argument) for argument in arguments])


def shown(path: Path) -> bytes:
    masque = load(path).masque
    assert masque is not None
    return masque.certificate


def hosts(path: Path) -> list[str]:
    certificate = leaf(shown(path))
    assert certificate is not None
    names, addresses = certificate_names(certificate)
    return [*names, *addresses]


def issue_anew(config: Path, now: datetime) -> None:
    """As if it had been made at another time."""
    _, (authority,) = read_certificates(config.parent / "ca.crt")
    _, authority_key = read_private_key(config.parent / "ca.key")
    _, key = read_private_key(config.parent / "masque.key")
    certificate = issue(authority, authority_key, key, "lab-1", ["lab-1", "kept.example"], now)
    (config.parent / "masque.crt").write_text(certificate_pem(certificate))


def test_a_new_pop_takes_masque_where_it_needs_no_privilege(config: Path) -> None:
    masque = load(config).masque
    assert masque is not None and masque.listen == ("127.0.0.1", 4433)
    assert {stat.S_IMODE((config.parent / name).stat().st_mode) for name in FILES} == {0o600}
    assert hosts(config) == ["lab-1", "localhost", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("options", "listen", "named"),
    [
        ({"listen": "192.0.2.1:51820"}, ("192.0.2.1", 4433), "192.0.2.1"),
        ({"listen": "0.0.0.0:51820"}, ("0.0.0.0", 4433), "lab-1"),
        ({"listen": "127.0.0.1:0"}, ("127.0.0.1", 0), "lab-1"),
        ({"listen": "[::1]:4433"}, ("::1", 4434), "::1"),
        ({"masque": "192.0.2.2:443"}, ("192.0.2.2", 443), "192.0.2.2"),
    ],
)
def test_where_a_new_pop_takes_masque(
    tmp_path: Path, options: dict[str, str], listen: tuple[str, int], named: str
) -> None:
    path = enrol.init(tmp_path / "pop", name="lab-1", **options)  # type: ignore[arg-type]
    masque = load(path).masque
    assert masque is not None and masque.listen == listen
    assert named in hosts(path) and "0.0.0.0" not in hosts(path)


@pytest.mark.parametrize(
    ("masque", "word"),
    [("pop.example:443", "not an IP address"), ("443", "not host:port"), ("127.0.0.1:51820", "UDP port 51820"),
     ("127.0.0.1:9180", "TCP port 9180")],
)  # fmt: skip
def test_what_would_not_load_is_not_written(tmp_path: Path, masque: str, word: str) -> None:
    with pytest.raises(Refused, match=word):
        enrol.init(tmp_path / "pop", masque=masque)
    assert not (tmp_path / "pop").exists()


def test_a_name_that_no_certificate_can_hold_is_left_out_of_it(tmp_path: Path) -> None:
    for name in ("lab-", "10.0.0.1"):
        assert name not in hosts(enrol.init(tmp_path / name))


def test_command_init_may_leave_masque_off(tmp_path: Path) -> None:
    assert run("init", tmp_path / "pop", "--listen-masque", "off").exit_code == 0
    assert load(tmp_path / "pop" / "edge.yaml").masque is None
    assert not any((tmp_path / "pop" / name).exists() for name in FILES)
    assert run("init", tmp_path / "other", "--listen-masque", "127.0.0.1:443").exit_code == 0
    assert '  masque: "127.0.0.1:443" ' in (tmp_path / "other" / "edge.yaml").read_text()


def test_a_pop_without_masque_is_told_what_to_do_and_then_has_it(without: Path) -> None:
    refused = run("--config", without, "add-client", "alice", "--tunnel", "masque")
    assert refused.exit_code == 2
    assert 'add `masque: "127.0.0.1:4433"` to `listen`' in refused.stderr
    assert refused.stderr.count("tunnel 'alice'") == 1
    assert f"`poplab edge --config {without} init-masque` makes the certificate" in refused.stderr
    made = run("--config", without, "init-masque", "--host", "pop.example.net")
    assert sorted(made.stdout.split()) == sorted(str(without.parent / name) for name in FILES)
    assert 'add `masque: "127.0.0.1:4433"` under `listen`' in made.stderr
    without.write_text(without.read_text().replace("listen:\n", 'listen:\n  masque: "127.0.0.1:4433"\n'))
    assert "pop.example.net" in hosts(without)
    assert run("--config", without, "add-client", "alice", "--tunnel", "masque").exit_code == 0


def test_init_masque_writes_where_the_configuration_looks_and_over_nothing(without: Path) -> None:
    settings = "masque: {certificate_file: shown.pem, key_file: shown.key}\n"
    text = without.read_text().replace("listen:\n", 'listen:\n  masque: "127.0.0.1:4433"\n')
    without.write_text(text + settings)
    made = run("--config", without, "init-masque")
    assert "add-client NAME --tunnel masque" in made.stderr
    assert hosts(without)[0] == "old-1"
    before = {path: path.read_bytes() for path in without.parent.iterdir() if path.is_file()}
    again = run("--config", without, "init-masque")
    assert again.exit_code == 2 and "nothing is overwritten" in again.stderr and "edge renew" in again.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_half_an_authority_is_not_completed(without: Path) -> None:
    (without.parent / "masque.key").write_text("of somebody else")
    with pytest.raises(Refused, match=r"masque\.key: nothing is overwritten"):
        enrol.init_masque(without)
    assert not (without.parent / "ca.key").exists()


def test_renewal_keeps_the_key_and_the_hosts(config: Path) -> None:
    issue_anew(config, datetime.now(UTC) - timedelta(days=390))
    noticed = run("check", "--config", config)
    assert noticed.exit_code == 0
    assert f"poplab edge --config {config} renew" in noticed.stderr
    before = leaf(shown(config))
    result = run("--config", config, "renew", "--host", "pop.example.net")
    assert result.exit_code == 0, result.output
    after = leaf(shown(config))
    assert before is not None and after is not None
    assert spki(after.public_key()) == spki(before.public_key())
    assert after.not_valid_after_utc > before.not_valid_after_utc + timedelta(days=300)
    assert {"lab-1", "kept.example", "pop.example.net", "127.0.0.1"} <= set(hosts(config))
    assert f"{after.not_valid_after_utc:%Y-%m-%d}" in result.stdout and "pop.example.net" in result.stdout
    assert f"poplab edge --config {config}" in result.stderr
    assert stat.S_IMODE((config.parent / "masque.crt").stat().st_mode) == 0o600
    assert run("check", "--config", config).stderr == ""


def test_a_certificate_that_has_ended_can_be_renewed(config: Path) -> None:
    issue_anew(config, datetime.now(UTC) - timedelta(days=500))
    with pytest.raises(ConfigError, match=r"ended on .*\n.* renew`"):
        load(config)
    enrol.renew(config)
    load(config)


def test_a_new_endpoint_is_in_the_next_certificate(config: Path) -> None:
    config.write_text(config.read_text().replace("# endpoint:", "endpoint:"))
    renewed = enrol.renew(config)
    assert "pop.example.net" in renewed.hosts


def test_a_certificate_of_somebody_else_is_not_replaced(config: Path) -> None:
    _, key = read_private_key(config.parent / "masque.key")
    theirs_key = new_key()
    theirs = new_authority("lab-1", theirs_key, datetime.now(UTC))
    text = certificate_pem(issue(theirs, theirs_key, key, "lab-1", ["lab-1"], datetime.now(UTC)))
    (config.parent / "masque.crt").write_text(text)
    with pytest.raises(Refused, match="not issued by the authority of this PoP"):
        enrol.renew(config)
    (config.parent / "ca.crt").unlink()
    with pytest.raises(Refused, match="not issued by the authority of this PoP"):
        enrol.renew(config)
    assert shown(config).decode() == text


def test_what_keeps_a_certificate_from_being_renewed(config: Path, without: Path) -> None:
    with pytest.raises(Refused, match="does not listen for MASQUE"):
        enrol.renew(without)
    with pytest.raises(Refused, match="'a b' is neither"):
        enrol.renew(config, hosts=["a b"])
    (config.parent / "ca.key").write_text(key_pem(new_key()))
    with pytest.raises(Refused, match="belongs to another key"):
        enrol.renew(config)
    (config.parent / "ca.key").unlink()
    with pytest.raises(Refused, match=r"ca\.key: No such file"):
        enrol.renew(config)
    load(config)


def test_an_authority_that_has_ended_is_said_to_have(config: Path) -> None:
    _, authority_key = read_private_key(config.parent / "ca.key")
    old = new_authority("lab-1", authority_key, datetime.now(UTC) - timedelta(days=4000))  # type: ignore[arg-type]
    (config.parent / "ca.crt").write_text(certificate_pem(old))
    _, key = read_private_key(config.parent / "masque.key")
    now = datetime.now(UTC) - timedelta(days=500)
    (config.parent / "masque.crt").write_text(
        certificate_pem(issue(old, authority_key, key, "lab-1", ["lab-1"], now))
    )
    with pytest.raises(Refused, match="the authority itself ended"):
        enrol.renew(config)


def enrol_pinned(config: Path) -> None:
    enrol.add_client(config, "carol", masque=enrol.Masque(enrol.Dialect.WARP))


def test_a_lost_certificate_is_made_again_for_its_key(config: Path) -> None:
    before = leaf(shown(config))
    (config.parent / "masque.crt").unlink()
    checked = run("check", "--config", config)
    assert checked.exit_code == 2 and f"`poplab edge --config {config} renew` makes one" in checked.stderr
    renewed = run("--config", config, "renew", "--host", "pop.example.net")
    assert renewed.exit_code == 0, renewed.output
    after = leaf(shown(config))
    assert before is not None and after is not None
    assert spki(after.public_key()) == spki(before.public_key())
    assert "pop.example.net" in hosts(config)


def test_a_lost_key_costs_whoever_pins_it_and_one_command_replaces_it(config: Path) -> None:
    enrol_pinned(config)
    pinned = leaf(shown(config))
    (config.parent / "masque.key").unlink()
    checked = run("check", "--config", config)
    assert checked.exit_code == 2 and f"`poplab edge --config {config} renew --new-key`" in checked.stderr
    refused = run("--config", config, "renew")
    assert refused.exit_code == 2 and "must be enrolled anew: carol" in refused.stderr
    assert "`poplab edge renew --new-key`" in refused.stderr
    renewed = run("--config", config, "renew", "--new-key")
    assert renewed.exit_code == 0 and "to be enrolled anew" in renewed.stderr and "carol" in renewed.stderr
    after = leaf(shown(config))
    assert after is not None and pinned is not None
    assert spki(after.public_key()) != spki(pinned.public_key())
    assert stat.S_IMODE((config.parent / "masque.key").stat().st_mode) == 0o600


def test_certificate_and_key_may_both_be_lost(config: Path) -> None:
    for name in ("masque.crt", "masque.key"):
        (config.parent / name).unlink()
    assert "`poplab edge init-masque`" in run("check", "--config", config).stderr
    assert "`poplab edge renew`" in run("--config", config, "init-masque").stderr
    assert "renew --new-key`" in run("--config", config, "renew").stderr
    assert enrol.renew(config, new=True).outdated == ()
    load(config)


@pytest.mark.parametrize("kept", ["ca.key", ""])
def test_a_lost_authority_is_noticed_before_a_client_goes_without(config: Path, kept: str) -> None:
    (config.parent / "ca.crt").rename(config.parent / "copy")
    if not kept:
        (config.parent / "ca.key").unlink()
    checked = run("check", "--config", config)
    assert checked.exit_code == 0 and "ca.crt: No such file" in checked.stderr
    for program in ("poplab", "xray"):
        refused = run("--config", config, "add-client", "alice", "--tunnel", "masque", "--for", program)
        assert refused.exit_code == 2 and "ca.crt: No such file" in refused.stderr and not refused.stdout
    assert load(config).tunnels == {}
    with pytest.raises(Refused, match=r"ca\.crt: No such file"):
        enrol.renew(config)
    enrol_pinned(config)
    (config.parent / "copy").rename(config.parent / "ca.crt")
    assert run("check", "--config", config).stderr == ""


def test_another_authority_in_its_place_is_noticed_too(config: Path) -> None:
    (config.parent / "ca.crt").write_text(
        certificate_pem(new_authority("lab-1", new_key(), datetime.now(UTC)))
    )
    with pytest.raises(Refused, match="not the one that has issued"):
        enrol.add_client(config, "alice", masque=enrol.Masque())
    (config.parent / "ca.crt").write_text("damaged")
    with pytest.raises(Refused, match="not a certificate"):
        enrol.add_client(config, "alice", masque=enrol.Masque())


def test_init_masque_says_what_to_replace(tmp_path: Path) -> None:
    path = enrol.init(tmp_path / "old", masque=None)
    assert (
        'replace `masque: null` by `masque: "127.0.0.1:4433"`' in run("--config", path, "init-masque").stderr
    )


def test_the_settings_that_a_new_pop_shows_can_be_switched_on(config: Path) -> None:
    text = config.read_text()
    (block,) = re.findall(r"^# masque:.*\n(?:#   .*\n)+", text, re.MULTILINE)
    config.write_text(text.replace(block, re.sub("^# ", "", block, flags=re.MULTILINE)))
    masque = load(config).masque
    assert masque is not None and masque.endpoint and masque.keylog == config.parent / "keys.log"
    checked = run("check", "--config", config)
    assert checked.exit_code == 0 and "TLS secrets are recorded in" in checked.stderr


@pytest.mark.parametrize("lost", [("ca.key",), ("ca.crt", "ca.key", "masque.crt")])
def test_what_to_do_without_an_authority_can_be_done(config: Path, lost: tuple[str, ...]) -> None:
    for name in lost:
        (config.parent / name).unlink()
    with pytest.raises(Refused, match="move away what there is of (.*), `poplab edge init-masque`") as caught:
        enrol.renew(config)
    for name in re.findall(r"[a-z]+\.(?:crt|key)", str(caught.value).partition("move away")[2]):
        (config.parent / name).unlink(missing_ok=True)
    enrol.init_masque(config)
    load(config)
