"""A CI server: hooks in, deploys and notices out, stage by stage."""

from __future__ import annotations

import msgspec
import pytest

from scenarios.proto import pipeline as module
from scenarios.proto.http import HttpResponse
from scenarios.proto.http_client import HttpClient, HttpExchange
from scenarios.proto.http_server import HttpServer
from scenarios.proto.pipeline import Pipeline, Progress, Run, StagePlan, State
from scenarios.proto.webhook import DELIVERY, SIGNATURE, Retries, Target, WebhookReceiver, signature
from tests.scenarios.proto.tcp_world import CLIENT, SERVER, Path, TcpWorld, Wire

BUILD = 2.0
NOTICES = Target(CLIENT, 9000, "/notify")


def stage(name: str, *ports: int) -> StagePlan:
    return StagePlan(name, tuple(Target(CLIENT, port, "/deploy") for port in ports))


class Plant:
    """The CI server on one host; the developer, the machines (by port) and the notices on the other."""

    def __init__(
        self, *stages: StagePlan, path: Path | None = None, secret: bytes | None = None, **more: object
    ) -> None:
        self.world = TcpWorld(path)
        self.pipeline = Pipeline(
            stages or (stage("test", 8001), stage("production", 8002, 8003)),
            build_time=BUILD,
            notify=(NOTICES,),
            secret=secret,
            retries=Retries(attempts=2, first=0.5, timeout=1.0),
            timeout=3.0,
            **more,  # type: ignore[arg-type]
        )
        self.world.server.add_stream(self.pipeline)
        self.progress: list[tuple[str, State]] = []
        self.world.server.on_event = lambda event: (
            self.progress.append((event.event.stage, event.event.state))
            if isinstance(event.event, Progress)
            else None
        )
        self.developer = HttpClient()
        self.world.client.add_stream(self.developer)
        self.machines = {
            port: HttpServer(port, {"/deploy": HttpResponse(201)}) for port in (8001, 8002, 8003)
        }
        self.notices = WebhookReceiver(9000, "/notify", secret=secret)
        for server in (*self.machines.values(), self.notices):
            self.world.client.add_stream(server)

    def commit(self, *headers: tuple[str, str], method: str = "POST", path: str = "/commit") -> HttpExchange:
        return self.developer.request(
            method, SERVER, 8080, path, headers, b"{}" if method == "POST" else b"", now=self.world.now
        )

    def push(self, *headers: tuple[str, str]) -> Run:
        self.commit(*headers)
        self.world.run()
        return self.pipeline.runs[-1]

    @property
    def deployed(self) -> dict[int, int]:
        return {port: machine.served for port, machine in self.machines.items()}

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(notice.event["event"], notice.event["stage"]) for notice in self.notices.received]


def test_a_commit_goes_through_all_stages_and_people_are_told_after_each() -> None:
    plant = Plant()
    hook = plant.commit()
    plant.world.run()
    (run,) = plant.pipeline.runs
    assert (hook.status, msgspec.json.decode(hook.body)) == (202, {"run": 1})
    assert (run.number, run.source) == (1, (CLIENT, hook.local_port))
    assert [(stage.name, stage.state) for stage in run.stages] == [
        ("test", State.PASSED),
        ("production", State.PASSED),
    ]
    assert plant.deployed == {8001: 1, 8002: 1, 8003: 1}
    assert plant.told == [("deployed", "test"), ("deployed", "production")]
    assert [notice.source[0] for notice in plant.notices.received] == [SERVER, SERVER]
    assert [delivery.delivered for delivery in run.notices] == [True, True]
    body = msgspec.json.decode(plant.machines[8003].log[0].body)
    assert body == {"event": "deploy", "run": 1, "stage": "production"}
    assert plant.progress == [
        ("", State.BUILDING),
        ("test", State.DEPLOYING),
        ("test", State.PASSED),
        ("production", State.DEPLOYING),
        ("production", State.PASSED),
        ("", State.PASSED),
    ]


def test_a_stage_begins_when_the_one_before_has_been_taken_everywhere() -> None:
    plant = Plant(stage("test", 8001, 8002), stage("production", 8003))
    plant.machines[8002].routes["/deploy"] = HttpResponse(200, delay=1.5)
    run = plant.push()
    test, production = run.stages
    assert run.started_at is not None and test.started_at == pytest.approx(run.started_at + BUILD)
    assert test.ended_at == pytest.approx(test.started_at + 1.5 + 0.08)
    assert production.started_at == test.ended_at
    assert plant.machines[8003].log[0].at > plant.machines[8002].log[0].at + 1.5
    assert run.ended_at == production.ended_at


def test_a_machine_that_refuses_stops_the_run_and_people_are_told() -> None:
    plant = Plant(stage("test", 8001, 8002), stage("production", 8003))
    plant.machines[8001].routes["/deploy"] = HttpResponse(500)
    run = plant.push()
    assert (run.state, run.stages[0].state, run.stages[1].state) == (
        State.FAILED,
        State.FAILED,
        State.WAITING,
    )
    assert [(deploy.status, deploy.reason, deploy.ok) for deploy in run.stages[0].deploys] == [
        (500, "500", False),
        (201, "", True),
    ]
    assert plant.deployed == {8001: 1, 8002: 1, 8003: 0}
    (notice,) = plant.notices.received
    assert notice.event == {"event": "failed", "run": 1, "stage": "test", "refused_by": [CLIENT]}


def test_a_machine_that_is_out_of_reach_fails_the_run_in_time() -> None:
    def gone(sender: str, wire: Wire) -> bool:
        return any(run.stages[0].state is State.DEPLOYING for run in plant.pipeline.runs)

    plant = Plant(path=Path(vanish=gone))
    run = plant.push()
    stage = run.stages[0]
    assert (run.state, stage.deploys[0].reason) == (State.FAILED, "timeout")
    assert stage.started_at is not None and stage.ended_at == pytest.approx(stage.started_at + 3.0)
    assert plant.told == [("failed", "test")]


def test_commits_wait_for_the_run_before_them() -> None:
    plant = Plant()
    for _ in range(3):
        plant.commit()
    plant.world.run()
    assert [run.state for run in plant.pipeline.runs] == [State.PASSED] * 3
    for earlier, later in zip(plant.pipeline.runs, list(plant.pipeline.runs)[1:], strict=False):
        assert later.started_at == earlier.ended_at
    assert plant.deployed == {8001: 3, 8002: 3, 8003: 3}


def test_a_failed_run_does_not_hold_up_the_next() -> None:
    plant = Plant(stage("test", 8001))
    plant.machines[8001].routes["/deploy"] = HttpResponse(409)
    assert plant.push().state is State.FAILED
    plant.machines[8001].routes["/deploy"] = HttpResponse(200)
    assert plant.push().state is State.PASSED


def test_a_hook_that_is_called_again_for_the_same_commit_starts_nothing() -> None:
    plant = Plant()
    plant.push((DELIVERY, "7"))
    again = plant.commit((DELIVERY, "7"))
    plant.world.run()
    assert (again.status, msgspec.json.decode(again.body)) == (202, {"run": 1})
    assert len(plant.pipeline.runs) == 1
    plant.push((DELIVERY, "8"))
    assert len(plant.pipeline.runs) == 2


def test_with_a_secret_hooks_must_be_signed_and_what_is_posted_is() -> None:
    secret = b"build me"
    plant = Plant(secret=secret)
    assert plant.commit() and plant.world.run() is None and not plant.pipeline.runs
    assert plant.pipeline.server.log[-1].status == 401
    run = plant.push((SIGNATURE, signature(secret, b"{}")))
    assert run.state is State.PASSED
    entry = plant.machines[8001].log[0]
    assert dict(entry.headers)[SIGNATURE.lower()] == signature(secret, entry.body)
    assert plant.told == [("deployed", "test"), ("deployed", "production")]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/commit", 405), ("POST", "/", 404), ("GET", "/", 404)]
)
def test_only_a_post_to_the_hook_is_a_commit(method: str, path: str, status: int) -> None:
    plant = Plant()
    asked = plant.commit(method=method, path=path)
    plant.world.run()
    assert asked.status == status
    assert not plant.pipeline.runs


def test_commits_and_what_is_known_of_them_have_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    plant = Plant()
    commits = [plant.commit() for _ in range(5)]
    plant.world.run()
    assert sorted(commit.status or 0 for commit in commits) == [202, 202, 202, 503, 503]
    assert len(plant.pipeline.runs) == 3


def test_people_who_cannot_be_told_do_not_stop_it() -> None:
    plant = Plant()
    plant.notices.path = "/elsewhere"
    run = plant.push()
    assert run.state is State.PASSED
    assert [(delivery.delivered, delivery.status) for delivery in run.notices] == [(False, 404)] * 2
