from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from edge import cli, enrol
from edge.cli import edge
from edge.config import load, public_key
from edge.enrol import Masque
from edge.errors import ConfigError, PoplabError, Refused
from edge.state import SqliteStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return enrol.init(tmp_path / "pop", name="lab-1", vnet="acme")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(edge, [str(argument) for argument in arguments])


def section(text: str) -> dict[str, str]:
    """The `Key = value` lines of a wg-quick file; the two sections share no key."""
    lines = [line.split(" = ", 1) for line in text.splitlines() if " = " in line]
    assert len({key for key, _ in lines}) == len(lines)
    return dict(lines)  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_a_configuration_that_loads(config: Path) -> None:
    loaded = load(config)
    assert (loaded.name, loaded.listen, list(loaded.vnets)) == ("lab-1", ("127.0.0.1", 51820), ["acme"])
    assert mode(config.parent) == mode(config.parent / "tunnels.d") == 0o700
    assert mode(config) == mode(config.parent / "pop.key") == 0o600
    assert config.read_text().count("#") > 5


def test_init_overwrites_nothing(config: Path) -> None:
    key = (config.parent / "pop.key").read_bytes()
    with pytest.raises(Refused, match="exists"):
        enrol.init(config.parent)
    config.unlink()
    with pytest.raises(Refused, match=r"pop\.key exists"):
        enrol.init(config.parent)
    assert (config.parent / "pop.key").read_bytes() == key


@pytest.mark.parametrize(
    "options",
    [{"name": "a b"}, {"name": "../x"}, {"vnet": "x: y"}, {"listen": "nowhere"}, {"listen": "pop.example:1"}],
)
def test_init_refuses_what_would_not_load(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(Refused, match=r"fix:|write it like"):
        enrol.init(tmp_path / "pop", **options)
    assert not (tmp_path / "pop" / "edge.yaml").exists()


def test_a_client_gets_a_wg_quick_file_that_fits_the_pop(config: Path) -> None:
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    enrolled = enrol.add_client(config, "alice", tags=["guest"])
    said = section(enrolled.text)
    loaded = load(config)
    alice = loaded.tunnels["alice"]
    assert public_key(base64.b64decode(said["PrivateKey"])) == alice.public_key
    assert base64.b64decode(said["PublicKey"]) == public_key(loaded.private_key)
    assert base64.b64decode(said["PresharedKey"]) == alice.preshared_key
    assert said["Address"] == "100.96.0.3/32"
    assert said["MTU"] == "1420"
    assert said["Endpoint"] == "127.0.0.1:51820"
    assert said["AllowedIPs"] == "100.96.0.0/24, 10.0.50.0/24"
    assert said["PersistentKeepalive"] == "25"
    assert (alice.user, alice.tags, alice.kind) == ("alice", ("guest",), "client")


def test_whoever_enrols_for_the_loopback_is_told_that_no_other_device_gets_there(config: Path) -> None:
    said = run("--config", config, "add-client", "alice", "--qr").stderr
    assert "note: 127.0.0.1:51820 is this machine's loopback, which no other device reaches" in said
    assert "--endpoint HOST:PORT" in said
    masque = run("--config", config, "add-client", "bob", "--tunnel", "masque").stderr
    assert "note: 127.0.0.1:4433 is this machine's loopback" in masque
    outside = run("--config", config, "add-client", "carol", "--endpoint", "pop.example.net:51820").stderr
    assert "loopback" not in outside


@pytest.mark.parametrize(
    ("kind", "given", "fix"),
    [
        ("masque", "pop.example.net:51820", "--endpoint pop.example.net:4433; .*`masque.endpoint`"),
        ("wireguard", "[2001:db8::1]:4433", r"--endpoint \[2001:db8::1\]:51820; .*`endpoint`"),
    ],
)
def test_the_port_of_the_other_listener_is_refused_with_the_right_one(
    config: Path, kind: str, given: str, fix: str
) -> None:
    said = run("--config", config, "add-client", "alice", "--tunnel", kind, "--endpoint", given)
    assert said.exit_code == 2
    assert re.search(f"fix: {fix}", said.stderr), said.stderr
    assert load(config).tunnels == {}


def test_a_router_may_forward_the_port_of_the_other_listener_if_the_configuration_says_so(
    config: Path,
) -> None:
    config.write_text(config.read_text() + 'masque: {endpoint: "pop.example.net:51820"}\n')
    assert 'server: "pop.example.net:51820"' in enrol.add_client(config, "alice", masque=Masque()).text
    given = enrol.add_client(config, "bob", masque=Masque(), endpoint="pop.example.net:51820")
    assert 'server: "pop.example.net:51820"' in given.text


def test_a_connector_reaches_the_others_but_not_itself(config: Path) -> None:
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    branch = enrol.add_connector(config, "branch", routes=["10.0.60.0/24", "10.0.70.0/24"])
    assert section(branch.text)["AllowedIPs"] == "100.96.0.0/24, 10.0.50.0/24"
    loaded = load(config).tunnels["branch"]
    assert [str(route) for route in loaded.routes] == ["10.0.60.0/24", "10.0.70.0/24"]
    assert loaded.site == "branch"


def test_a_replica_is_like_the_others_of_its_site(config: Path) -> None:
    enrol.add_connector(config, "branch", routes=["10.0.60.0/24"])
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24", "10.0.51.0/24"])
    file = config.parent / "tunnels.d" / "hq.yaml"
    file.write_text(file.read_text() + "tags: [voice]\ngroups: [g]\nuser: ops\n")
    enrolled = run("--config", config, "add-connector", "hq-b", "--replica-of", "hq")
    assert enrolled.exit_code == 0, enrolled.output
    said = section(enrolled.stdout)
    assert said["Address"] == "100.96.0.4/32"
    assert said["AllowedIPs"] == "100.96.0.0/24, 10.0.60.0/24", "not what is behind itself"
    loaded = load(config)
    one, two = loaded.tunnels["hq"], loaded.tunnels["hq-b"]
    assert (two.site, two.routes, two.tags, two.groups, two.user) == (
        "hq", one.routes, ("voice",), ("g",), "ops",
    )  # fmt: skip
    assert (one.preference, two.preference) == (0, 1)
    assert enrol.add_connector(config, "hq-c", replica_of="hq").tunnel.preference == 2
    load(config)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "--route"),
        ({"routes": ["10.0.70.0/24"], "replica_of": "hq"}, "either routes or"),
        ({"replica_of": "hk"}, "known: hq"),
        ({"replica_of": "alice"}, "no site 'alice'"),
    ],
)
def test_what_no_replica_can_be_of(config: Path, options: dict[str, object], word: str) -> None:
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    enrol.add_client(config, "alice")
    with pytest.raises(Refused, match=word):
        enrol.add_connector(config, "new", **options)  # type: ignore[arg-type]
    assert sorted(load(config).tunnels) == ["alice", "hq"]


def test_a_replica_of_a_connector_that_cannot_be_probed_is_refused_with_the_remedy(config: Path) -> None:
    file = enrol.add_connector(config, "hq", routes=["10.0.50.0/24"]).file
    file.write_text(file.read_text().replace('addresses: ["100.96.0.2"]\n', ""))
    with pytest.raises(ConfigError, match=r"'hq' .* no address(.|\n)*addresses: \[100\.96\.0\.3\]") as wrong:
        enrol.add_connector(config, "hq-b", replica_of="hq")
    assert [problem.file for problem in wrong.value.problems] == [str(file)]


def test_a_replica_brings_no_routes_and_is_no_news_to_others(config: Path) -> None:
    config.write_text(config.read_text() + 'endpoint: "pop.example.net:51820"\n')
    enrol.add_client(config, "alice")
    for name, route in (("hq", "10.0.50.0/24"), ("exit", "0.0.0.0/0")):
        assert enrol.add_connector(config, name, routes=[route]).advice
        advice = enrol.add_connector(config, f"{name}-b", replica_of=name).advice
        assert not any("enrolled before" in line or "full tunnel" in line for line in advice)
    (once,) = enrol.add_client(config, "bob").advice
    assert "0.0.0.0/0" in once


def test_a_site_in_a_file_with_mistakes_is_not_missed(config: Path) -> None:
    file = enrol.add_connector(config, "hq", routes=["10.0.50.0/24"]).file
    file.write_text(file.read_text() + "bad: 1\n")
    with pytest.raises(ConfigError, match="unknown key 'bad'"):
        enrol.add_connector(config, "hq-b", replica_of="hq")


def test_a_replica_whose_key_nobody_got_is_not_enrolled(config: Path) -> None:
    def nobody(_: str) -> None:
        raise Refused("nobody got the private key")

    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    with pytest.raises(Refused, match="nobody"):
        enrol.add_connector(config, "hq-b", replica_of="hq", deliver=nobody)
    assert list(load(config).tunnels) == ["hq"]


def test_the_site_says_which_network(config: Path) -> None:
    config.write_text(config.read_text().replace("vnets:", "vnets:\n  other: {pool: 100.97.0.0/24}\n", 1))
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"], vnet="acme")
    assert enrol.add_connector(config, "hq-b", replica_of="hq").tunnel.vnet == "acme"
    with pytest.raises(Refused, match="vnet other has no site 'hq'"):
        enrol.add_connector(config, "hq-c", replica_of="hq", vnet="other")


def test_both_families_get_an_address(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace("    mtu:", '    pool6: "fd00:96::/64"\n    mtu:'))
    said = section(enrol.add_client(config, "alice").text)
    assert said["Address"] == "100.96.0.2/32, fd00:96::2/128"
    assert said["AllowedIPs"] == "100.96.0.0/24, fd00:96::/64"


def test_the_private_key_is_kept_nowhere(config: Path) -> None:
    enrolled = enrol.add_client(config, "alice")
    private = section(enrolled.text)["PrivateKey"]
    kept = "".join(path.read_text() for path in config.parent.rglob("*") if path.is_file())
    assert private not in kept
    assert base64.b64decode(private).hex() not in kept
    assert private not in repr(enrolled)
    assert section(enrolled.text)["PresharedKey"] not in repr(enrolled) + enrolled.file.read_text()
    assert mode(enrolled.file) == mode(enrolled.file.with_suffix(".psk")) == 0o600


def test_addresses_are_reused_only_when_free_and_run_out_in_words(config: Path) -> None:
    config.write_text(config.read_text().replace("100.96.0.0/24", "100.96.0.0/29"))
    files = [enrol.add_client(config, f"c{n}", psk=False).file for n in range(5)]
    with pytest.raises(Refused, match="full"):
        enrol.add_client(config, "late")
    files[2].unlink()
    assert section(enrol.add_client(config, "late").text)["Address"] == "100.96.0.4/32"
    load(config)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("a/b", {}, "not a name"), ("..", {}, "not a name"), ("", {}, "not a name"),
        ("x\nkind: connector", {}, "not a name"), ("alice", {}, "already"),
        ("x", {"vnet": "acne"}, "did you mean 'acme'"), ("x", {"endpoint": "nowhere"}, "host:port"),
        ("x", {"keepalive": 70000}, "keepalive"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_file(
    config: Path, name: str, options: dict[str, object], word: str
) -> None:
    enrol.add_client(config, "alice")
    before = sorted(config.parent.rglob("*"))
    with pytest.raises(PoplabError, match=word):
        enrol.add_client(config, name, **options)  # type: ignore[arg-type]
    assert sorted(config.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("route", "word"),
    [
        ("10.0.0.1/8", "host bits"),
        ("10.0.50.128/25", "lies inside"),
        ("100.96.0.0/16", "overlaps the pool"),
        ("x", "prefix"),
    ],
)
def test_bad_routes_are_refused_before_anything_is_written(config: Path, route: str, word: str) -> None:
    enrol.add_connector(config, "hq", routes=["10.0.50.0/24"])
    with pytest.raises(PoplabError, match=word) as refusal:
        enrol.add_connector(config, "branch", routes=[route])
    assert list(load(config).tunnels) == ["hq"]
    assert str(refusal.value).count("fix:") <= 1, "one mistake, one message"


def test_a_listener_on_any_port_needs_an_endpoint(tmp_path: Path) -> None:
    config = enrol.init(tmp_path / "pop", listen="127.0.0.1:0")
    with pytest.raises(Refused, match="--endpoint"):
        enrol.add_client(config, "alice")
    assert not list((tmp_path / "pop" / "tunnels.d").iterdir())


def test_a_wildcard_listener_needs_an_endpoint(tmp_path: Path) -> None:
    config = enrol.init(tmp_path / "pop", listen="0.0.0.0:51820")
    with pytest.raises(Refused, match="--endpoint"):
        enrol.add_client(config, "alice")
    assert (
        section(enrol.add_client(config, "alice", endpoint="pop.example:4500").text)["Endpoint"]
        == "pop.example:4500"
    )
    config.write_text(config.read_text().replace("# endpoint:", "endpoint:"))
    assert section(enrol.add_client(config, "bob").text)["Endpoint"] == "pop.example.net:51820"


def test_text_from_the_command_line_cannot_add_keys(config: Path) -> None:
    file = enrol.add_client(config, "alice", user='x"\nkind: connector # é', tags=["a, b]", "no"]).file
    written = yaml.safe_load(file.read_text())
    assert written["user"] == 'x"\nkind: connector # é'
    assert written["tags"] == ["a, b]", "no"]
    assert load(config).tunnels["alice"].tags == ("a, b]", "no")


def test_a_crash_half_way_leaves_nothing_that_blocks_the_next_try(config: Path) -> None:
    (config.parent / "tunnels.d" / "alice.psk").write_text("left over from a crash")
    with pytest.raises(Refused, match=r"alice\.psk"):
        enrol.add_client(config, "alice")
    assert list(load(config).tunnels) == []


def test_many_enrolments_at_once_get_addresses_of_their_own(config: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: enrol.add_client(config, f"c{n}", psk=False), range(16)))
    addresses = {tunnel.addresses for tunnel in load(config).tunnels.values()}
    assert len(addresses) == 16


def test_two_enrolments_under_one_name_are_one(config: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            enrol.add_client(config, "alice")
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
    load(config)


def test_enrolling_does_not_spoil_a_configuration_with_mistakes(config: Path) -> None:
    config.write_text(config.read_text() + "tunels: {}\n")
    result = run("--config", config, "add-client", "alice")
    assert result.exit_code == 2
    assert "did you mean 'tunnels'?" in result.stderr
    assert list((config.parent / "tunnels.d").iterdir()) == []


def test_command_init_then_add_then_check(tmp_path: Path) -> None:
    folder = tmp_path / "pop"
    made = run("init", folder, "--name", "lab-1", "--vnet", "acme")
    assert made.exit_code == 0
    assert made.stdout == f"{folder / 'edge.yaml'}\n"
    assert "add-client" in made.stderr
    added = run("--config", folder / "edge.yaml", "add-client", "alice", "--qr")
    assert added.stdout.startswith("[Interface]\n")
    assert added.stdout.endswith("PersistentKeepalive = 25\n")
    assert "not shown again" in added.stderr
    assert "█" in added.stderr or "▄" in added.stderr
    site = run(
        "add-connector",
        "hq",
        "--config",
        folder / "edge.yaml",
        "--route",
        "10.0.50.0/24",
        "--no-psk",
        "--keepalive",
        "0",
    )
    assert "PresharedKey" not in site.stdout
    assert "PersistentKeepalive" not in site.stdout
    checked = run("check", "--config", folder / "edge.yaml")
    assert checked.exit_code == 0
    assert ": good: 1 vnet, 2 tunnels, 1 route\n" in checked.stdout


def test_command_writes_a_private_file_and_never_over_another(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "alice.conf"
    result = run("--config", config, "add-client", "alice", "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert f"{out} is the only place of the private key" in result.stderr
    assert mode(out) == 0o600
    assert section(out.read_text())["Address"] == "100.96.0.2/32"
    again = run("--config", config, "add-client", "bob", "--out", out)
    assert again.exit_code == 2
    assert "bob" not in load(config).tunnels
    failed = run("--config", config, "add-client", "alice", "--out", tmp_path / "unused.conf")
    assert failed.exit_code == 2
    assert not (tmp_path / "unused.conf").exists()


def test_command_names_the_process_to_tell(config: Path) -> None:
    store = SqliteStore(config.parent / "state.db")
    try:
        running = run("--config", config, "add-client", "alice")
    finally:
        store.close()
    stopped = run("--config", config, "add-client", "bob")
    assert f"poplab edge --config {config} reload " in running.stderr
    assert f"(process {os.getpid()})" in running.stderr
    assert f"poplab edge --config {config} " in stopped.stderr and "reload" not in stopped.stderr


def test_a_lock_that_this_user_may_not_read_spoils_no_enrolment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> int | None:
        raise Refused("not readable for this user")

    monkeypatch.setattr(cli, "holder", refuse)
    assert run("--config", config, "add-client", "alice").exit_code == 0
    assert "alice" in load(config).tunnels


def test_command_says_all_mistakes_with_places_and_exits_2(config: Path) -> None:
    config.write_text(config.read_text().replace("version: 1", "version: 3").replace("    mtu:", "    mut:"))
    result = run("check", "--config", config)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{config}:2:10:" in result.stderr
    assert "did you mean 'mtu'?" in result.stderr


def test_a_pop_that_is_not_there(tmp_path: Path) -> None:
    for command in (["check"], ["add-client", "x"]):
        result = run("--config", tmp_path / "none" / "edge.yaml", *command)
        assert result.exit_code == 2
        assert "No such file" in result.stderr


def test_a_pipe_gets_the_file_and_nothing_else(config: Path) -> None:
    program = "from edge.cli import edge; edge()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "--config", str(config), "add-client", "alice"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert set(section(ran.stdout)) == {
        "PrivateKey", "Address", "MTU", "PublicKey", "PresharedKey", "Endpoint", "AllowedIPs",
        "PersistentKeepalive",
    }  # fmt: skip
    assert all(line.startswith(("[", "#")) or " = " in line or not line for line in ran.stdout.splitlines())
    assert section(ran.stdout)["PrivateKey"] not in ran.stderr


POLICY = """\
    policy:
      - {id: deny-guests, from: {tag: guest}, to: {site: hq}, action: block}
      - {id: from-alice, from: {client: alice}, action: allow}
"""


@pytest.fixture
def with_policy(config: Path) -> Path:
    """A PoP whose rules come before those whom they name."""
    start, _, rest = config.read_text().partition("    policy:")
    config.write_text(start + POLICY + rest[rest.index("\n\n") :])
    return config


def test_a_rule_before_its_site_is_refused_with_the_command_that_mends_it(with_policy: Path) -> None:
    result = run("check", "--config", with_policy)
    assert result.exit_code == 2
    command = f"poplab edge --config {with_policy}"
    assert f"fix: `{command} add-connector hq --route PREFIX`" in result.stderr
    assert f"fix: `{command} add-client alice`" in result.stderr


def test_what_a_rule_misses_can_be_added(with_policy: Path) -> None:
    site = run("--config", with_policy, "add-connector", "hq", "--route", "10.0.50.0/24")
    assert site.exit_code == 2, "alice is still missing"
    assert "add-client alice" in site.stderr and "add-connector" not in site.stderr
    with_policy.write_text(with_policy.read_text().replace("from: {client: alice}, ", ""))
    assert run("--config", with_policy, "add-connector", "hq", "--route", "10.0.50.0/24").exit_code == 0
    assert run("check", "--config", with_policy).exit_code == 0


def test_who_was_enrolled_before_a_site_is_named_with_its_routes(config: Path) -> None:
    first = run("--config", config, "add-client", "alice")
    assert "enrolled before" not in first.stderr
    one = run("--config", config, "add-connector", "hq", "--route", "10.0.50.0/24", "--route", "10.0.51.0/24")
    assert (
        "alice was enrolled before: add 10.0.50.0/24, 10.0.51.0/24 to AllowedIPs of its [Peer], "
        "or to `reaches:` in a file for poplab" in one.stderr
    )
    two = run("--config", config, "add-connector", "branch", "--route", "10.0.60.0/24")
    assert (
        "alice, hq were enrolled before: add 10.0.60.0/24 to AllowedIPs of their [Peer], "
        "or to `reaches:` in a file for poplab" in two.stderr
    )
    assert "enrolled before" not in run("--config", config, "add-client", "bob").stderr
    for n in range(10):
        enrol.add_client(config, f"x{n}", psk=False)
    many = run("--config", config, "add-connector", "lab", "--route", "10.0.70.0/24")
    assert "x2, x3 and 6 others were enrolled" in many.stderr


def test_a_default_route_is_said_out_loud(config: Path) -> None:
    site = run("--config", config, "add-connector", "exit", "--route", "0.0.0.0/0")
    assert "makes exit the default route of vnet acme" in site.stderr
    client = run("--config", config, "add-client", "alice")
    assert section(client.stdout)["AllowedIPs"].endswith("0.0.0.0/0")
    assert "full tunnel" in client.stderr


def test_a_group_is_for_rules_as_a_tag_is(config: Path) -> None:
    text = config.read_text().replace("{id: everyone,", "{id: staff, from: {group: staff, tag: vip},")
    config.write_text(text)
    result = run(
        "--config", config, "add-client", "bob", "--group", "staff", "--group", "night", "--tag", "new"
    )
    assert result.exit_code == 0
    assert load(config).tunnels["bob"].groups == ("staff", "night")
    assert "no rule of vnet acme names the group 'night'; they name staff" in result.stderr
    assert "no rule of vnet acme names the tag 'new'; they name vip" in result.stderr
    assert "'staff'" not in result.stderr


def test_a_name_that_is_taken_says_which_files_to_delete(config: Path) -> None:
    file = enrol.add_client(config, "alice").file
    refusal = run("--config", config, "add-client", "alice").stderr
    assert f"delete {file} and {file.with_suffix('.psk')} first" in refusal
    file.unlink()
    file.with_suffix(".psk").unlink()
    enrol.add_client(config, "alice")


@pytest.mark.parametrize("sink", ["closed pipe", "full device", "closed"])
def test_a_key_that_nobody_got_is_not_enrolled(config: Path, sink: str) -> None:
    command = [sys.executable, "-c", "from edge.cli import edge; edge()"]
    command += ["--config", str(config), "add-client", "alice"]
    if sink == "closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    if sink == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writing)
    assert ran.returncode == 2
    assert "nobody got what the peer needs" in ran.stderr and "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert load(config).tunnels == {}
    assert list((config.parent / "tunnels.d").iterdir()) == []


# -- words on the command line --


def test_a_file_in_the_place_of_an_option_is_told_where_it_belongs(config: Path) -> None:
    for arguments, command in (
        (["check", config], "edge check"),
        (["check", config.parent], "edge check"),
        ([config], "edge"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert f"did you mean `{command} --config {config}`?" in result.stderr
    assert "did you mean 'check'?" in run("chek").stderr
    assert "extra argument (x)" in run("--config", config, "check", "x").stderr


def test_help_has_a_short_name_everywhere() -> None:
    for arguments in (["-h"], ["check", "-h"], ["add-client", "-h"]):
        assert run(*arguments).stdout.startswith("Usage:")


def test_a_folder_or_a_missing_file_is_answered_with_what_may_be_meant(tmp_path: Path) -> None:
    config = enrol.init(tmp_path / "lab")
    for given in (tmp_path / "lab", tmp_path / "edge.yaml", tmp_path / "lab" / "egde.yaml"):
        for verb in (["check"], ["add-client", "x"]):
            result = run("--config", given, *verb)
            assert result.exit_code == 2
            assert f"did you mean {config}?" in result.stderr
    result = run("--config", tmp_path / "none" / "edge.yaml", "check")
    assert "`poplab edge init DIR` makes a new PoP" in result.stderr


def test_a_tag_that_is_likely_a_slip_is_refused_before_it_spoils_the_configuration(config: Path) -> None:
    text = config.read_text().replace(
        "- {id: everyone, action: allow}", "- {id: guests, from: {tag: guest}, action: block}"
    )
    config.write_text(text)
    result = run("--config", config, "add-client", "mallory", "--tag", "guests")
    assert result.exit_code == 2
    load(config)


def test_a_file_for_our_own_end_is_in_its_form(config: Path) -> None:
    enrolled = enrol.add_connector(config, "hq", routes=["10.0.50.0/24"], for_poplab=True)
    said = yaml.safe_load(enrolled.text)
    assert (said["tunnel"], said["kind"], said["serves"]) == ("wireguard", "connector", ["10.0.50.0/24"])
    assert "`poplab connector FILE`" in " ".join(enrolled.usage)
    assert public_key(base64.b64decode(said["wireguard"]["private_key"])) == enrolled.tunnel.public_key


def test_a_folder_that_cannot_be_made_is_refused_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"file/pop: Not a directory\n    fix: choose a folder"):
        enrol.init(tmp_path / "file" / "pop")
