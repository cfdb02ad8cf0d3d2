"""Applications that a file asks for, and the steps that use them; in virtual time."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from edge.errors import ConfigError
from scenarios import world
from scenarios.fabric import Sim
from scenarios.report import RunRecord, State
from scenarios.runner import check, run
from scenarios.runner.actions import ACTIONS
from scenarios.runner.stepping import fields
from scenarios.schema import Script

HEAD = """\
version: 1
name: apps
deadline: 60s
vnets: {acme: {}}
"""
POLICY = """
policy:
  - {id: no-guests, from: {tag: guest}, action: block}
  - {id: all, action: allow}
"""
SITE = """\
topology:
  links: {road: {like: wan}}
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      link: road
      hosts:
        web:
          ip: 10.0.50.80
          app:
            http.server: {routes: {/: {body: hello}, /slow: {delay: 3s}, /hook: {status: 204}}, secret: s3}
        plain:
          ip: 10.0.50.81
          app: {http.server: {port: 8000, routes: {/: {}, /deploy: {}, /notify: {}, /no: {status: 500}}}}
        dns: {ip: 10.0.50.53, app: {dns.server: {zone: {web.test: [10.0.50.80, 10.0.50.81], www.test: web.test}}}}
        ad: {ip: 10.0.50.10, app: {directory.server: {allow: {staff: [100.96.0.12/32], admin: [10.0.50.0/24]}}}}
        desk: {ip: 10.0.50.20, app: {directory.member: {server: hq/ad}}}
        sink: {ip: 10.0.50.9, app: {traffic.sink: {}}}
        ci:
          ip: 10.0.50.60
          app: {ci.pipeline: {stages: [{name: test, deploy: hq/plain}], notify: [hq/plain]}}
  clients:
    alice:
      vnet: acme
      ip: 100.96.0.12
      app: {directory.member: {server: hq/ad}, traffic: {to: hq/sink, rate: 200/s, start: by-step}}
    bob:
      vnet: acme
      ip: 100.96.0.13
      app: {directory.member: {server: hq/ad}, traffic: {to: hq/sink, rate: 50/s, start: by-step}}
    gus:
      vnet: acme
      ip: 100.96.0.66
      tags: [guest]
      app: {directory.member: {server: hq/ad}, traffic: {to: hq/sink, start: by-step}}
"""
UP = "  - wait: {tunnels: up}\n"


def only(text: str | Path) -> Script:
    (script,) = check(text, "apps.yaml")
    return script


def ran(steps: str, *, head: str = HEAD + SITE + POLICY, seed: int | None = None) -> RunRecord:
    script = only(f"{head}steps:\n{UP}{steps}")
    return Sim().execute(lambda: run(script, Sim(), seed=seed), seed=7)


def passed(steps: str, **more: str) -> RunRecord:
    record = ran(steps, **more)
    wrong = [(check.text, check.saw, check.error) for check in record.failed_checks]
    assert record.state is State.PASSED, (record.error, wrong, [step.error for step in record.steps])
    return record


def test_a_request_is_answered_and_the_server_sees_who_asked() -> None:
    record = passed("""
  - http.request: {from: alice, to: hq/web}
    expect: [outcome == "answered", status == 200, body == "hello", size == 5, seen_source == clients.alice.ip]
  - http.request: {from: bob, to: 10.0.50.81, port: 8000, path: /no}
    expect: [status == 500, connect_time > 35ms, first_byte > connect_time, duration >= first_byte]
expect:
  - hosts["hq/web"].requests.count == 1 and hosts["hq/web"].requests.sources == [clients.alice.ip]
  - hosts["hq/web"].requests.by_source[clients.alice.ip] == 1
  - hosts["hq/plain"].requests.refused == 1 and hosts["hq/plain"].requests.last.path == "/no"
""")
    assert record.steps[1].summary.startswith("200 after ")


def test_a_fault_can_name_what_an_earlier_step_found() -> None:
    record = passed(
        """
  - {id: get, http.request: {from: alice, to: hq/plain, port: 8000, path: /who}}
  - {fault.rekey-now: {tunnels: "${get.body}"}, expect: ['targets == ["hq"]']}
""",
        head=HEAD + SITE.replace("/: {}, /deploy", "/: {}, /who: {body: hq}, /deploy") + POLICY,
    )
    assert record.steps[2].summary == "hq: new keys"


def test_a_request_says_why_it_has_no_answer() -> None:
    record = passed("""
  - {http.request: {from: alice, to: hq/web, port: 81}, expect: [outcome == "refused"]}
  - {http.request: {from: alice, to: hq/web, path: /slow, give_up: 2s}, expect: [outcome == "timeout", duration == 2s]}
  - http.request: {from: gus, to: hq/web, give_up: 2s}
    expect: [outcome == "timeout", 'denied_by == ["no-guests"]', target_bytes == 0, seen_source == none]
""")
    assert record.steps[3].summary == "timeout: rule no-guests, web saw 0 bytes"


def test_without_expectations_a_request_must_be_answered_well() -> None:
    record = ran("  - http.request: {from: bob, to: hq/plain, port: 8000, path: /no}\n")
    assert record.steps[1].state is State.FAILED


def test_a_webhook_is_tried_until_it_is_taken_and_no_longer_than_it_should() -> None:
    passed("""
  - webhook.post: {from: alice, to: hq/web, path: /hook, secret: s3}
    expect: [delivered == 1, attempts == 1, status == 204, delivery_time < 1s]
  - webhook.post: {from: alice, to: hq/web, path: /hook}
    expect: [delivered == 0, status == 401, reason == "401"]
  - webhook.post: {from: alice, to: [hq/plain, hq/sink], port: 8000, path: /no, give_up: 4s}
    expect: [delivered == 0, 'status["hq/plain"] == 500', 'reason["hq/sink"] == "refused"', attempts == 6]
  - {webhook.post: {from: gus, to: hq/web, give_up: 2s}, expect: ['denied_by == ["no-guests"]', delivered == 0]}
  - wait: {for: 20s}
expect: ['hosts["hq/plain"].requests.count == 3']
""")


def test_names_are_asked_for() -> None:
    record = passed("""
  - dns.query: {from: alice, server: hq/dns, name: www.test}
    expect: ['data == ["10.0.50.80", "10.0.50.81"]', code == "NOERROR", attempts == 1, duration > 40ms]
  - {dns.query: {from: alice, server: 10.0.50.53, name: nobody.test}, expect: [outcome == "no_name"]}
  - {dns.query: {from: alice, server: hq/web, name: web.test, give_up: 1s}, expect: [outcome == "timeout"]}
  - dns.query: {from: gus, server: hq/dns, name: web.test, give_up: 1s}
    expect: [outcome == "timeout", 'denied_by == ["no-guests"]', target_bytes == 0]
expect:
  - hosts["hq/dns"].dns.queries == 2 and hosts["hq/dns"].dns.sources == [clients.alice.ip]
  - hosts["hq/dns"].dns.codes.NXDOMAIN == 1 and hosts["hq/dns"].dns.last.name == "nobody.test"
""")
    assert record.steps[1].summary.startswith("10.0.50.80, 10.0.50.81 after ")


def test_traffic_is_sent_for_a_while_and_counted_where_it_arrives() -> None:
    passed("""
  - traffic.run: {from: [alice, bob], for: 2s}
    expect: [sources == 2, sent == 500, received == 500, loss == 0, overrun == 0, delay_avg > 20ms, delay_max < 1s]
  - traffic.run: {from: gus, for: 1s}
    expect: [sent == 50, received == 0, lost == 50, loss == 100%, 'denied_by == ["no-guests"]', target_bytes == 0]
expect:
  - hosts["hq/sink"].traffic.received == 500
  - hosts["hq/sink"].traffic.sources == [clients.alice.ip, clients.bob.ip]
  - clients.alice.traffic.sent == 400
thresholds:
  traffic.delay: [p(95) < 100ms, count == 500]
  traffic.lost: [max == 1]
""")


def test_traffic_from_the_start_ends_before_the_world_does() -> None:
    passed(
        """  - wait: {for: 2s}
expect:
  - clients.alice.traffic.sent > 400 and clients.alice.traffic.sent < 420
  - hosts["hq/sink"].traffic.received == clients.alice.traffic.sent
""",
        head=HEAD
        + SITE.replace("200/s, start: by-step", "200/s, start: at-once").replace("link: road", "")
        + POLICY,
    )


def test_a_directory_refuses_by_address_and_reaches_those_who_joined() -> None:
    passed("""
  - directory.push: {server: hq/ad}
    expect: [applied == 0, 'members == []']
  - directory.bind: {members: [alice, hq/desk]}
    expect: [bound == 2, true_sources, role.alice == "staff", 'role["hq/desk"] == "admin"', slowest > 40ms]
  - directory.bind: {members: bob}
    expect: [bound == 0, verdict == "refused", seen == clients.bob.ip]
  - {directory.bind: {members: gus, give_up: 1s}, expect: [verdict == "timeout", 'denied_by == ["no-guests"]']}
  - directory.push: {server: hq/ad, version: 4}
    expect: [applied == 2, 'members == ["hq/desk", "alice"]', 'missing == []', version == 4]
expect:
  - clients.alice.directory.policy_version == 4 and hosts["hq/desk"].directory.policy == "policy 4"
  - clients.bob.directory.policy_version == 0 and not clients.bob.directory.bound
  - hosts["hq/ad"].directory.refused == [clients.bob.ip]
  - hosts["hq/ad"].directory.audit[-1].user == "bob"
""")


def test_a_push_that_nobody_can_take_fails() -> None:
    record = ran("""
  - directory.bind: {members: alice}
  - fault.partition: {tunnels: alice}
  - directory.push: {server: hq/ad, give_up: 4s}
  - {directory.push: {server: hq/ad, version: 1, give_up: 1s}, expect: ['missing == ["alice"]']}
""")
    assert [step.state for step in record.steps[2:]] == [State.PASSED, State.FAILED, State.PASSED]
    assert "applied by 0 of 1" in record.steps[3].summary


def test_an_older_policy_is_a_mistake_of_the_file_and_no_defect() -> None:
    record = ran("""
  - {directory.push: {server: hq/ad, version: 2}, expect: [version == 2]}
  - {directory.push: {server: hq/ad, version: 1}, expect: [version == 2]}
""")
    assert record.state is State.FAILED
    assert record.steps[2].error == "the policy is at version 2, after 1; push a newer `version`"


def test_a_pipeline_deploys_and_tells() -> None:
    head = HEAD + SITE.replace("{port: 8000,", "{port: 80,") + POLICY
    passed(
        """
  - webhook.post: {from: alice, to: hq/ci, port: 8080, path: /commit, event: commit}
    await: hosts["hq/ci"].pipeline.state == "passed"
    within: 5s
  - {wait: {for: 1s}}
expect:
  - hosts["hq/ci"].pipeline.runs == 1 and hosts["hq/ci"].pipeline.source == clients.alice.ip
  - hosts["hq/ci"].pipeline.stages.test.state == "passed" and hosts["hq/ci"].pipeline.stages.test.refused_by == []
  - hosts["hq/ci"].pipeline.notices == 1 and hosts["hq/ci"].pipeline.told == [hosts["hq/plain"].ip]
  - hosts["hq/plain"].requests.count == 2 and hosts["hq/plain"].requests.sources == [hosts["hq/ci"].ip]
""",
        head=head,
    )


def test_results_have_the_names_that_conditions_are_checked_against() -> None:
    text = f"""{HEAD}{SITE}{POLICY}steps:
{UP}  - http.request: {{from: alice, to: hq/web}}
  - webhook.post: {{from: alice, to: hq/web, path: /hook, secret: s3}}
  - dns.query: {{from: alice, server: hq/dns, name: web.test}}
  - traffic.run: {{from: alice, for: 100ms, settle: 100ms}}
  - directory.bind: {{members: alice}}
  - directory.push: {{server: hq/ad}}
"""
    script = only(text)
    record = Sim().execute(lambda: run(script, Sim()), seed=7)
    assert record.state is State.PASSED
    for step, done in zip(script.scenario.steps, record.steps, strict=True):
        assert tuple(done.results) == fields(step)
        assert done.summary
    assert all(ACTIONS[type(step.verb[1])] for step in script.scenario.steps if step.verb)


def test_the_same_seed_is_the_same_run() -> None:
    query = "  - dns.query: {from: bob, server: hq/dns, name: web.test}\n"
    steps = f"  - traffic.run: {{from: [alice, bob], for: 1s}}\n{query}"
    assert ran(steps).events == ran(steps).events


VOICE = (
    HEAD
    + """
topology:
  sites: {hq: {vnet: acme, routes: [10.0.50.0/24], hosts: {pbx: {ip: 10.0.50.60, app: {sip.pbx: {}}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, app: {sip.phone: {media: MEDIA}}}
    bob: {vnet: acme, ip: 100.96.0.13, link: lossy, app: {sip.phone: {plc: PLC}}}
"""
    + POLICY
)
CALL = """
  - sip.register: {phones: [alice, bob]}
  - {id: call, sip.call: {from: alice, to: bob, hold: 20s}}
"""


def voice(media: str, plc: str = "true") -> str:
    return VOICE.replace("MEDIA", media).replace("PLC", plc)


def test_a_phone_without_concealment_is_judged_worse() -> None:
    tone = "{tone: {frequency: 1000, level: -20}}"
    heard = {}
    for plc in ("true", "false"):
        record = ran(CALL, head=voice(tone, plc))
        heard[plc] = record.steps[2].results["heard"]["bob"]  # type: ignore[index, call-overload]
    assert heard["true"]["lost"] == heard["false"]["lost"] > 0  # type: ignore[index, operator]
    assert heard["false"]["mos"] < heard["true"]["mos"] - 0.2  # type: ignore[index, operator]
    assert (heard["true"]["codec"], heard["false"]["codec"]) == ("G.711+PLC", "G.711")  # type: ignore[index]


def test_a_phone_says_what_is_in_a_file_beside_the_scenario(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x01\x02" * 800)
    scenario = tmp_path / "a.yaml"
    scenario.write_text(f"{voice('{wav: hello.wav}')}steps:\n{UP}{CALL}")
    script = only(scenario)
    built = world.build(script)
    phone = built.members["alice"].phone
    assert phone is not None and phone.source.duration == 0.1  # type: ignore[attr-defined]
    assert Sim().execute(lambda: run(script, Sim()), seed=1).state is State.PASSED


@pytest.mark.parametrize(
    ("content", "message", "fix"),
    [
        (None, "cannot read {}/x.wav: No such file or directory", "relative to the scenario file"),
        (b"hello", "x.wav: malformed: not a RIFF/WAVE file", "sox"),
    ],
)
def test_a_recording_that_cannot_be_played_is_told_with_its_place(
    tmp_path: Path, content: bytes | None, message: str, fix: str
) -> None:
    if content is not None:
        (tmp_path / "x.wav").write_bytes(content)
    scenario = tmp_path / "a.yaml"
    scenario.write_text(f"{voice('{wav: x.wav}')}steps:\n{UP}{CALL}")
    with pytest.raises(ConfigError) as caught:
        check(scenario)
    (problem,) = caught.value.problems
    assert message.format(tmp_path) in problem.message
    assert fix in problem.fix
    assert problem.line == 9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("www.test: web.test", "www.test: a..b", "'a..b'"),
        ("rate: 200/s", "rate: 0", "a rate is more than 0"),
        ("{alice: {vnet: acme", "", ""),
        ("name: test, deploy: hq/plain", "name: test, deploy: hq/sink", "'hq/sink' is no web server"),
        ("notify: [hq/plain]", "notify: [other]", "'other' is in vnet umbrella, hq/ci in acme"),
        ("/slow: {", "slow: {", "'slow' is not a path"),
    ],
)
def test_what_cannot_run_is_told_before_it_does(old: str, new: str, message: str) -> None:
    other = "    other: {vnet: umbrella, ip: 100.96.0.12, app: {http.server: {}}}\n"
    text = (HEAD.replace("{acme: {}}", "{acme: {}, umbrella: {}}") + SITE + other + POLICY).replace(old, new)
    if not message:
        only(f"{text}steps:\n{UP}")
        return
    with pytest.raises(ConfigError) as caught:
        check(f"{text}steps:\n{UP}")
    assert any(message in problem.message and problem.line > 4 for problem in caught.value.problems)


def test_phones_pay_nothing_for_what_they_do_not_use() -> None:
    built = world.build(only(f"{voice('null')}steps:\n{UP}"))
    member = built.members["alice"]
    assert [type(app).__name__ for app in member.host.apps] == ["Softphone"]
    assert not member.host.stream_apps
    assert member.http is member.http and member.probe is member.probe
    assert len(member.host.stream_apps) == 1
    assert member.resolver("10.0.0.1") is member.resolver("10.0.0.1") is not member.resolver("10.0.0.2")
