"""Real programs in scenarios: those of hosts, those that steps run, and what is left of them, which is nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio

from edge.errors import ConfigError, FabricUnavailable
from scenarios import doctor, world
from scenarios.live import PlainLines
from scenarios.report import RunRecord, State, findings, write
from scenarios.runner import check, run, workshop
from scenarios.trace import OutputFile
from tests.scenarios.runner.machines import MISSING, Machines

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

HEAD = """\
version: 1
name: programs
deadline: 30s
vnets: {acme: {}}
policy: [{id: all, action: allow}]
topology:
  clients: {alice: {vnet: acme}}
  sites:
    hq:
      vnet: acme
      routes: [10.0.60.0/24]
      hosts:
        web:
          ip: 10.0.60.80
"""
SERVER = (
    "import socket, sys, time; s = socket.socket(type=getattr(socket, sys.argv[1])); s.bind(('127.0.0.1', 0))"
)
UP = "  - wait: {tunnels: up}\n"


def ran(
    steps: str,
    programs: str = "",
    *,
    head: str = HEAD,
    out: Path | None = None,
    machines: Machines | None = None,
    interrupt: trio.Event | None = None,
) -> RunRecord:
    exec_ = f"          app:\n            exec:\n{programs}" if programs else ""
    (script,) = check(f"{head}{exec_}steps:\n{steps}", "programs.yaml")
    where = Machines() if machines is None else machines

    async def main() -> RunRecord:
        stop = trio.Event() if interrupt is None else interrupt
        return await run(script, where, folder=out, interrupt=stop)

    record = where.execute(main, seed=7)
    assert where.left == []
    return record


def passed(steps: str, programs: str = "", **more: object) -> RunRecord:
    record = ran(steps, programs, **more)  # type: ignore[arg-type]
    assert record.state is State.PASSED, findings(record)
    return record


def law(record: RunRecord) -> tuple[bool, str, list[str]]:
    (found,) = [law for law in record.invariants if law.id == "programs-run"]
    return found.holds, found.text, found.details


# -- steps


def test_a_step_runs_a_program_and_looks_at_what_came_of_it() -> None:
    record = passed("""
  - id: ask
    exec.run:
      on: alice
      run: [sh, ./ask.sh]
      stdin: "in "
      files:
        words: "file "
        ask.sh: |
          cat; cat words; echo "$GREETING" >&2; exit 3
      env: {GREETING: "speed=12 ms"}
      capture:
        all: {}
        speed: {regex: 'speed=([0-9]+)', from: stderr, as: number}
        text: {regex: 'speed=([0-9]+)', from: output}
        absent: {json: n}
    expect:
      - outcome == "exited" and code == 3 and signal == none
      - all == "in file " and speed == 12 and text == "12" and absent == none
      - len(stderr) == 12 and duration < 20s and output_bytes == len(output)
  - exec.run:
      on: alice
      run: [cat, words, again]
      files: {again: "${ask.speed + 1} ${seed} ${hosts['hq/web'].ip}"}
    expect: [stdout == "file 13 7 10.0.60.80"]
  - exec.run: {on: hq/web, run: [sh, -c, 'test "$PWD" = "$1" && ls', x, "${dir}"]}
    expect: ['code == 0 and stdout == ""']
""")
    assert record.steps[0].name == "exec.run alice: sh ./ask.sh"
    assert "no absent: the output is no JSON" in record.steps[0].summary
    assert "speed=12 ms" in "".join(record.steps[0].output)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("http://10.0.60.81:8000/", "10.0.60.81 is in the routes of hq, but no host has it"),
        ("10.0.60.80 10.0.60.1", ""),  # the host, and the connector on its LAN
        ("10.0.60.0/24 10.0.61.80 10.0.60.255", ""),
        ("100.96.0.77", "100.96.0.77 is in the pool of acme, but no client has it"),
        ("${clients.alice.ip} 100.96.0.1", ""),
    ],
)
def test_a_program_that_asks_an_address_of_nobody_is_told_so(command: str, said: str) -> None:
    record = ran(f"""
  - exec.run: {{on: alice, run: [sh, -c, exit 7, "{command}"]}}
""")
    assert record.steps[0].state is State.FAILED
    (_, _, *rest) = record.steps[0].summary.partition("; ")
    assert rest == [said]


def test_json_is_picked_with_its_types() -> None:
    passed("""
  - exec.run:
      on: alice
      run: [echo, '{"end": {"streams": [{"bps": 1e6}, {"bps": 2500000}], "ok": true, "name": "5"}}']
      capture:
        speed: {json: "end.streams[-1].bps"}
        ok: {json: end.ok}
        name: {json: end.name}
        number: {json: end.name, as: number}
    expect: [speed > 2000000 and ok and name == "5" and number == 5]
""")


def test_without_expectations_it_must_end_with_0_and_the_report_shows_what_it_wrote(tmp_path: Path) -> None:
    record = ran("  - exec.run: {on: alice, run: [sh, -c, 'echo it went wrong; exit 1']}\n")
    assert record.state is State.FAILED
    assert record.steps[0].output == ["it went wrong"]
    text = findings(record)[0].text
    assert text.startswith("code == 0 is false: code = 1; ended with code 1 after ")
    assert text.endswith("; it wrote: it went wrong")
    write(tmp_path, [record])
    assert "the program wrote:\nit went wrong" in (tmp_path / "junit.xml").read_text()
    assert "it went wrong" in (tmp_path / "report.html").read_text()
    assert '"it went wrong"' in (tmp_path / "results.json").read_text()


ASTRAY = HEAD.replace(
    "      routes: [10.0.60.0/24]\n",
    "      routes: [10.0.60.0/24]\n"
    "      deploy: intermediate-gateway\n"
    "      router: {ip: 10.0.60.1, routes: []}\n",
)


@pytest.mark.parametrize(
    "command",
    [
        '[sh, -c, "exit 28", x, "http://${hosts[\'hq/web\'].ip}:8000/"]',
        "[sh, -c, 'echo no answer from 10.0.60.80.; exit 1']",
        '[sleep, "60", "# 10.0.60.80"]',
    ],
)
def test_a_program_that_fails_to_reach_a_host_is_told_the_missing_route(command: str) -> None:
    record = ran(f"  - exec.run: {{on: alice, run: {command}, within: 1s}}\n", head=ASTRAY)
    assert record.steps[0].state is State.FAILED
    assert record.steps[0].summary.endswith(
        "the router has no route to 100.96.0.0/12, so it goes to the Internet; "
        "fix: on router:hq: ip route add 100.96.0.0/12 via 10.0.60.2"
    )


def test_routes_are_no_matter_of_programs_that_end_well_or_name_nobody() -> None:
    record = ran(
        "  - exec.run: {on: alice, run: [echo, 10.0.60.80]}\n"
        "  - exec.run: {on: alice, run: [sh, -c, 'exit 1', x, 10.0.60.8, 110.0.60.80, 100.96.0.1]}\n",
        head=ASTRAY,
    )
    assert [step.state for step in record.steps] == [State.PASSED, State.FAILED]
    assert not any("; fix:" in step.summary for step in record.steps)


def test_the_name_of_a_step_is_what_was_run_with_the_values_that_conditions_can_ask_for() -> None:
    record = passed(
        "  - exec.run: {on: alice, run: [echo, \"${hosts['hq/web'].ip}\", "
        "'${passwords[\"hq/web\"].bob}', '${seed}', '$${x}']}\n"
        "  - {name: mine, exec.run: {on: alice, run: [echo, '${seed}']}}\n",
        head=WITH_PBX,
    )
    assert record.steps[0].name == 'exec.run alice: echo 10.0.60.80 ${passwords["hq/web"].bob} ${seed} ${x}'
    assert record.steps[1].name == "mine"


def test_what_takes_too_long_is_killed_with_all_that_it_started() -> None:
    record = passed(
        """
  - exec.run: {on: alice, run: [sh, -c, 'trap "" TERM; echo begun; sleep 50 & sleep 51; sleep 52'], within: 0.5s}
    expect: [outcome == "timeout" and code == none and signal == "KILL"]
"""
    )
    assert record.steps[0].output == ["begun"]
    assert record.steps[0].summary == "killed after 500 ms"


def test_a_signal_is_an_outcome_of_its_own() -> None:
    passed("""
  - exec.run: {on: alice, run: [sh, -c, 'kill -USR1 $$']}
    expect: [outcome == "signalled" and signal == "USR1" and code == none]
""")


def test_what_cannot_be_started_says_why() -> None:
    record = ran("""
  - exec.run: {on: alice, run: [cat], files: {a/b: x}}
  - exec.run: {on: alice, run: [cat], files: {a: y}}
  - exec.run: {on: alice, run: [cat, "${hosts.alice.seen}"]}
""")
    assert [step.state for step in record.steps] == [State.PASSED, State.FAILED, State.FAILED]
    assert "cannot write" in record.steps[1].error
    assert "is no text now" in record.steps[2].error


def test_so_does_one_for_which_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    record = ran("  - exec.run: {on: alice, run: [date]}\n", program("site", "exec sleep 60"))
    assert record.state is State.FAILED
    assert record.steps[0].error == "no working folder can be made: No such file or directory"
    assert "no working folder can be made" in law(record)[1]


def test_of_what_a_program_writes_a_record_has_less_than_conditions_see() -> None:
    record = passed("""
  - id: much
    exec.run: {on: alice, run: [sh, -c, 'echo begin; seq 100000; echo end']}
    expect: [len(stdout) > 500000 and "50000" in stdout]
  - {wait: {for: 1ms}, expect: [len(much.stdout) > 500000]}
""")
    kept = str(record.steps[0].results["stdout"])
    assert kept.startswith("begin\n1\n") and kept.endswith("\n100000\nend\n")
    assert len(kept) < 40_000 and " characters left out]" in kept


ENDLESS = "(a+)+$"  # for a row of a and something else it tries all ways to cut the row


def test_an_expression_that_would_never_end_is_given_up_and_the_step_says_so() -> None:
    record = ran(f"""
  - exec.run:
      on: alice
      run: [echo, {"a" * 40}!]
      capture: {{endless: {{regex: '{ENDLESS}'}}, other: {{regex: '(a+)'}}}}
    expect: [endless == none and other == "{"a" * 40}"]
""")
    assert record.state is State.PASSED
    assert "no endless: its expression takes more than 1 s for 42 characters" in record.steps[0].summary


def test_so_it_is_where_it_says_that_a_program_is_ready() -> None:
    record = ran(
        "  - {wait: {programs: ready}}\n",
        program("site", f"echo {'a' * 40}!; exec sleep 60", more=f"ready: {{output: {ENDLESS}}}"),
    )
    assert record.state is State.FAILED
    assert "takes more than 1 s for 42 characters" in law(record)[1]


def test_a_command_that_is_one_long_number_is_searched_for_addresses_at_once() -> None:
    passed("""
  - id: digits
    exec.run: {on: alice, run: [sh, -c, 'head -c 100000 /dev/zero | tr "\\0" 7']}
  - exec.run: {on: alice, run: [test, "${digits.stdout}", "!=", "7"]}
""")


def test_nothing_that_a_program_writes_moves_the_cursor_of_whoever_watches() -> None:
    evil = "\\033]0;title\\007\\033[2J\\342\\200\\256evil"
    record = ran(f"""
  - id: evil
    exec.run:
      on: alice
      run: [printf, '{evil}']
      capture: {{text: {{}}}}
    expect: [text == ""]
  - exec.run: {{on: alice, run: [echo, "${{evil.text}}"]}}
  - exec.run: {{on: alice, run: [printf, '{{"a": {{"{evil}": 1}}}}'], capture: {{keys: {{json: a}}}}}}
    expect: [keys == 1]
  - exec.run: {{on: alice, run: [printf, '{{"a": {{"\\\\u001b[2J\\\\u202e": 1}}}}'], capture: {{keys: {{json: a}}}}}}
    expect: [keys == 1]
""")
    first, second, _, last = record.steps
    assert "text \\x1b]0;title\\x07\\x1b[2J\\u202eevil" in first.summary
    assert second.name == r"exec.run alice: echo \x1b]0;title\x07\x1b[2J\u202eevil"
    assert r"{\x1b[2J\u202e: 1}" in last.checks[0].saw[0][1]
    lines: list[str] = []
    watcher = PlainLines(lines.append)
    for step in record.steps:
        watcher.step_ended(record, step)
    watcher.ended(record)
    assert not {"\x1b", "\x07", "\u202e"} & set("".join(lines))


def test_a_program_that_is_not_here_is_known_before_anything_starts() -> None:
    machines = Machines()
    with pytest.raises(
        FabricUnavailable,
        match=r":\d+:\d+: the program no-such-program is not on this machine, needed by hq/web\n    fix: install no",
    ):
        ran(
            "  - exec.run: {on: alice, run: [date]}\n",
            "              - {name: a, run: [no-such-program]}\n",
            machines=machines,
        )
    assert machines.here.started == []
    assert "sip" in doctor.way_to("sipp")


@pytest.mark.parametrize(
    ("run", "fix"),
    [
        ("[prnitf]", "did you mean 'printf'?"),
        ("['printf -c 2 fd00::1']", 'write [printf, -c, "2", "fd00::1"]'),
        ("[culr]", "did you mean 'curl'?"),
        ("[zzyzx]", "install zzyzx, and have it on PATH"),
    ],
)
def test_a_program_that_is_misspelt_is_named(
    run: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "SYSTEM", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("printf", "print", "sh"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(FabricUnavailable) as caught:
        ran(f"  - exec.run: {{on: alice, run: {run}}}\n")
    assert str(caught.value).endswith(f"\n    fix: {fix}")


WITH_PBX = f"{HEAD}          app: {{sip.pbx: {{users: [alice, bob]}}}}\n"


def test_a_program_gets_the_password_that_a_pbx_knows_and_nobody_who_reads_a_report_does(
    tmp_path: Path,
) -> None:
    (script,) = check(f"{WITH_PBX}steps:\n{UP}", "programs.yaml")
    passwords = world.build(script, seed=7).members["hq/web"].passwords
    assert set(passwords) == {"alice", "bob"}
    record = ran(
        """
  - exec.run:
      on: alice
      run: [sh, -c, 'cat account; echo; sha256sum account; echo "$1" >&2', x, '${passwords["hq/web"].bob}']
      files: {account: '${passwords["hq/web"].alice}'}
      capture: {first: {regex: '(.+)'}, hash: {regex: '^([0-9a-f]+) '}, bob: {regex: '(.+)', from: stderr}}
    expect:
      - code == 0 and first == "(a secret)" and bob == "(a secret)"
      - hash == "none"
  - exec.run: {on: alice, run: [echo, '${passwords["hq/web"]}']}
  - exec.run: {on: alice, run: [echo, '${passwords["hq/web"].alice + 1}']}
""",
        head=WITH_PBX,
        out=tmp_path,
    )
    seen = record.steps[0].results["hash"]
    assert seen == hashlib.sha256(passwords["alice"].encode()).hexdigest()
    assert "is no text now" in record.steps[1].error
    assert record.steps[2].error
    write(tmp_path, [record])
    everything = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert "account" in everything
    assert not any(password in everything + repr(record) for password in passwords.values())


def test_no_condition_can_ask_for_a_password() -> None:
    with pytest.raises(ConfigError, match="passwords"):
        check(f"{WITH_PBX}steps:\n{UP}    expect: [passwords.alice == none]\n", "programs.yaml")


def test_ctrl_c_ends_a_program_and_the_run_drains() -> None:
    interrupt = trio.Event()

    class Impatient(Machines):
        async def press(self) -> None:
            while len(self.here.started) < 2:
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            interrupt.set()

    machines = Impatient()
    program = "              - {name: site, run: [sleep, '60']}\n"
    (script,) = check(
        f"{HEAD}          app:\n            exec:\n{program}steps:\n"
        "  - exec.run: {on: alice, run: [sh, -c, 'echo begun; sleep 61']}\n",
        "programs.yaml",
    )

    async def main() -> RunRecord:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(machines.press)
            return await run(script, machines, interrupt=interrupt)

    record = machines.execute(main, seed=7)
    assert record.state is State.INTERRUPTED
    assert record.steps[0].waiting == "alice runs sh: begun"
    assert record.steps[0].output == ["begun"]
    assert machines.left == []


def test_a_defect_of_ours_leaves_no_program() -> None:
    class Broken(Machines):
        pass

    machines = Broken()
    (script,) = check(
        f"{HEAD}          app:\n            exec:\n              - {{name: site, run: [sleep, '60']}}\n"
        "steps:\n  - exec.run: {on: alice, run: [sleep, '61']}\n",
        "programs.yaml",
    )

    class Bomb(Exception):
        pass

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def explode() -> None:
                while len(machines.here.started) < 2:
                    await trio.sleep(0.01)
                raise Bomb

            nursery.start_soon(explode)
            await run(script, machines)

    with pytest.raises(BaseExceptionGroup):
        machines.execute(main, seed=7)
    assert machines.left == []


def test_a_daemon_that_has_left_its_session_does_not_outlive_the_world() -> None:
    record = passed("""
  - id: daemon
    exec.run:
      on: alice
      run: [sh, -c, 'setsid sh ./daemon.sh & while ! test -s pid; do sleep 0.02; done; cat pid']
      files:
        daemon.sh: |
          exec < /dev/null > /dev/null 2>&1
          trap "" TERM HUP
          echo $$ > pid
          sleep 62 & wait
      capture: {pid: {as: number}}
  - {exec.run: {on: alice, run: [kill, "-0", "${daemon.pid}"]}}
""")
    assert not _runs(int(record.steps[0].output[0]))


# -- programs of hosts


def program(name: str, command: str, *, more: str = "") -> str:
    return f"              - {{name: {name}, run: [sh, -c, '{command}']{', ' + more if more else ''}}}\n"


def test_a_program_of_a_host_starts_with_the_world_and_ends_with_it() -> None:
    record = passed(
        """
  - wait: {programs: ready}
    expect: ['hosts["hq/web"].programs.site.state == "running" and hosts["hq/web"].programs.site.ready']
  - exec.run: {on: hq/web, run: [cat, log]}
    expect: ['hosts["hq/web"].programs.site.n == 7']
""",
        program(
            "site",
            "echo up ${seed} | tee log; exec sleep 60",
            more="ready: {output: up}, capture: {n: {regex: up (.), as: number}}",
        ),
    )
    (site,) = record.programs
    assert (site.host, site.name, site.state, site.signal, site.starts) == (
        "hq/web",
        "site",
        "signalled",
        "TERM",
        1,
    )
    assert site.output == ["up 7"] and site.trouble == ""
    assert law(record)[0]
    assert record.steps[0].summary == "1 program ready"


@pytest.mark.parametrize(("kind", "key"), [("SOCK_STREAM", "tcp"), ("SOCK_DGRAM", "udp")])
def test_it_is_ready_when_somebody_has_the_port(kind: str, key: str) -> None:
    import socket

    with socket.socket(type=getattr(socket, kind)) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "; ".join(
        [
            f"import socket, time; s = socket.socket(type=socket.{kind})",
            f'time.sleep(0.3); s.bind(("127.0.0.1", {port}))',
            "s.listen()" if key == "tcp" else "pass",
            'print("bound", flush=True); time.sleep(60)',
        ]
    )
    passed(
        """
  - wait: {programs: ready}
    expect: ['"bound" in hosts["hq/web"].programs.server.output or hosts["hq/web"].programs.server.ready']
""",
        f"              - {{name: server, run: [{sys.executable}, -c, '{code}'], ready: {{{key}: {port}}}}}\n",
    )


def test_it_is_ready_when_another_program_says_so() -> None:
    passed(
        "  - {wait: {programs: ready}}\n  - exec.run: {on: hq/web, run: [test, -e, there]}\n",
        program("site", "sleep 0.3; touch there; exec sleep 60", more="ready: {run: [test, -e, there]}"),
    )


def test_who_is_not_ready_in_time_fails_the_step_that_waits_and_the_run() -> None:
    record = ran(
        "  - {wait: {programs: ready}}\n",
        program(
            "site",
            "echo reading the configuration; exec sleep 60",
            more="ready: {output: listening, within: 0.3s}",
        ),
    )
    why = "site on hq/web: it was not ready within 300 ms: it has written nothing that matches 'listening'"
    assert record.steps[0].error == why
    assert record.steps[0].output == ["reading the configuration"]
    assert law(record) == (False, why, ["reading the configuration"])
    assert record.state is State.FAILED


def test_who_ends_before_it_is_ready_is_not_waited_for() -> None:
    record = ran(
        "  - {wait: {programs: ready}}\n",
        program(
            "site", "echo no such file >&2; exit 78", more="ready: {tcp: 1, within: 20s}, may_exit: true"
        ),
    )
    assert record.steps[0].error == "site on hq/web: it ended with code 78 before it was ready"
    assert record.elapsed < 15 and record.state is State.FAILED


def test_who_ends_by_itself_fails_the_run_with_its_last_words() -> None:
    record = ran(
        "  - {wait: {for: 0.5s}}\n",
        program("site", "echo out of memory >&2; exit 137")
        + program("other", "exit 0", more="may_exit: true"),
    )
    assert record.state is State.FAILED
    assert law(record) == (False, "site on hq/web should run, but it ended with code 137", ["out of memory"])
    assert findings(record)[0].text == "site on hq/web should run, but it ended with code 137"
    assert [each.state for each in record.programs] == ["exited", "exited"]
    assert [bool(each.trouble) for each in record.programs] == [True, False]


def test_steps_start_and_stop_programs() -> None:
    record = passed(
        """
  - wait: {for: 0.1s}
    expect: ['hosts["hq/web"].programs.site.state == "not_started" and hosts["hq/web"].programs.site.code == none']
  - exec.start: {on: hq/web, name: site}
    expect: [ready and duration < 10s]
  - exec.stop: {on: hq/web, name: site, signal: HUP}
    expect: [outcome == "exited" and code == 5]
  - wait: {for: 0.1s}
    expect: ['hosts["hq/web"].programs.site.state == "exited" and hosts["hq/web"].programs.site.starts == 1']
  - {exec.start: {on: hq/web, name: site}}
  - exec.stop: {on: hq/web, name: site, within: 0.2s}
    expect: [outcome == "timeout" and signal == "KILL"]
""",
        program(
            "site",
            'trap "exit 5" HUP; trap "" TERM; echo up; while :; do sleep 0.02; done',
            more="start: by-step, ready: {output: up}",
        ),
    )
    assert record.programs[0].starts == 2
    assert record.programs[0].output == ["up"]


def test_a_step_cannot_start_what_runs_or_stop_what_does_not() -> None:
    record = ran(
        "  - {exec.start: {on: hq/web, name: one}}\n  - {exec.stop: {on: hq/web, name: two}}\n"
        "  - {exec.start: {on: hq/web, name: two}}\n",
        program("one", "exec sleep 60")
        + program("two", "echo no; exit 1", more="start: by-step, ready: {output: yes}"),
    )
    assert [step.error for step in record.steps] == [
        "one on hq/web runs already",
        "two on hq/web does not run",
        "two on hq/web: it ended with code 1 before it was ready",
    ]
    assert record.steps[2].output == ["no"]
    assert law(record)[0]  # the step answers for it


def test_a_second_start_waits_for_its_own_readiness() -> None:
    record = ran(
        "  - {exec.start: {on: hq/web, name: site}}\n  - {exec.stop: {on: hq/web, name: site}}\n"
        "  - {exec.start: {on: hq/web, name: site}}\n",
        program(
            "site",
            "test -e once || echo up; touch once; exec sleep 60",
            more="start: by-step, ready: {output: up, within: 0.5s}",
        ),
    )
    assert [step.state for step in record.steps] == [State.PASSED, State.PASSED, State.FAILED]


# -- logs


def test_what_programs_write_is_in_files_beside_the_reports(tmp_path: Path) -> None:
    passed(
        "  - {exec.run: {on: alice, run: [echo, one]}}\n  - {exec.run: {on: alice, run: [echo, two]}}\n",
        program("site", "echo up; exec sleep 60"),
        out=tmp_path,
    )
    logs = {file.name: file.read_text() for file in (tmp_path / "programs").iterdir()}
    assert logs == {"hq-web.site.log": "up\n", "alice.echo.log": "one\n", "alice.echo-2.log": "two\n"}


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: OutputFile, data: bytes) -> bool:
        self.error = os.strerror(errno.ENOSPC)
        return False

    monkeypatch.setattr(OutputFile, "write", full)
    record = passed("  - {exec.run: {on: alice, run: [echo, hello]}}\n", out=tmp_path)
    assert record.incomplete == [
        "the log of alice.echo is not complete: No space left on device; 6 bytes are left out"
    ]


def test_a_folder_that_cannot_be_written_to_is_no_reason_to_end(tmp_path: Path) -> None:
    (tmp_path / "programs").write_text("a file")
    record = passed("  - {exec.run: {on: alice, run: [echo, hello]}}\n", out=tmp_path)
    assert record.incomplete[0].startswith("there is no log of alice.echo: ")


# -- the process of poplab


def test_they_die_with_poplab(tmp_path: Path) -> None:
    """Killed so that nothing of ours can run any more."""
    child = os.fork()
    if not child:  # pragma: no cover - another process
        try:
            os.chdir(tmp_path)
            ran(f"  - exec.run: {{on: alice, run: [sh, -c, 'echo $$ > {tmp_path}/pid; exec sleep 63']}}\n")
        finally:
            os._exit(1)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
