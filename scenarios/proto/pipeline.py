"""A CI server on a simulated host: a commit hook starts a build, which goes to one stage after the other.

The server is on both ends of connections: it is called by the hook, and it calls the machines that it deploys to and
the people whom it tells. A network that carries requests in one direction only stops it after its first step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec

from scenarios.proto.app import Endpoint
from scenarios.proto.http import Headers, HttpRequest, HttpResponse
from scenarios.proto.http_client import HttpClient, HttpExchange
from scenarios.proto.http_server import HttpServer, Served, ServerLimits
from scenarios.proto.tcp import TcpStack
from scenarios.proto.timer_queue import TimerQueue
from scenarios.proto.webhook import (
    DELIVERY,
    SIGNATURE,
    UNSIGNED,
    Delivery,
    DeliveryEnded,
    Retries,
    Target,
    WebhookSender,
    is_signed,
    signature,
)

KEPT = 100
"""Runs that are remembered."""

MAX_WAITING = 100
"""Commits that wait for the run before them."""


class State(StrEnum):
    """Of a run, or of one of its stages."""

    WAITING = "waiting"
    BUILDING = "building"  # runs only
    DEPLOYING = "deploying"
    PASSED = "passed"
    FAILED = "failed"


class StagePlan(NamedTuple):
    """Machines that must all take a build before the next stage begins. They are posted to once, without retries."""

    name: str
    targets: tuple[Target, ...]


@dataclass(slots=True)
class Deploy:
    """What one machine said."""

    target: Target
    status: int | None = None
    reason: str = ""
    """Why it took nothing: a word of `http_client.Failure`, or the status."""
    ended_at: float | None = None

    @property
    def ok(self) -> bool:
        return self.ended_at is not None and not self.reason


@dataclass(slots=True)
class StageRun:
    """A stage of one run."""

    name: str
    deploys: tuple[Deploy, ...]
    state: State = State.WAITING
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(slots=True)
class Run:
    """A commit and what became of it."""

    number: int
    source: Endpoint
    """Who called the hook."""
    queued_at: float
    stages: tuple[StageRun, ...]
    state: State = State.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    notices: list[Delivery] = field(default_factory=list)


class Progress(NamedTuple):
    """A run, or a stage of it, has another state. `stage` is empty for the run itself."""

    run: Run
    stage: str
    state: State
    at: float


class Pipeline:
    """An application (`host.StreamApp`). Events are `Served`, `Progress` and `DeliveryEnded`.

    One run at a time; commits that come meanwhile wait. With a secret, an unsigned hook is refused, and what the
    server posts is signed.
    """

    def __init__(
        self,
        stages: Iterable[StagePlan],
        *,
        port: int = 8080,
        hook: str = "/commit",
        build_time: float = 2.0,
        notify: Iterable[Target] = (),
        secret: bytes | None = None,
        timeout: float = 10.0,
        retries: Retries | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        self.plan = tuple(stages)
        self.hook = hook
        self.server = HttpServer(port, handler=self._asked, limits=limits)
        self.runs: deque[Run] = deque(maxlen=KEPT)
        """The last ones, oldest first."""
        self.notifier = WebhookSender(notify, secret=secret, retries=retries, name="pipeline-")
        self._build_time = build_time
        self._secret = secret
        self._timeout = timeout
        self._client = HttpClient()
        self._count = 0
        self._current: Run | None = None
        self._queue: deque[Run] = deque()
        self._known: dict[tuple[str, str], int] = {}
        self._building: TimerQueue[int] = TimerQueue()
        self._exchanges: dict[HttpExchange, Deploy] = {}
        self._events: deque[Progress] = deque(maxlen=1000)

    # An application on a host

    def attach(self, tcp: TcpStack) -> None:
        for part in (self.server, self._client, self.notifier):
            part.attach(tcp)

    def handle_timeout(self, now: float) -> None:
        for part in (self.server, self._client, self.notifier):
            part.handle_timeout(now)
        while self._building.pop_due(now) is not None:
            self._deploy(now)

    def poll_timeout(self) -> float:
        parts = (self.server, self._client, self.notifier)
        return min(self._building.next(), *(part.poll_timeout() for part in parts))

    def poll_event(self) -> Served | Progress | DeliveryEnded | None:
        while (ended := self._client.poll_event()) is not None:
            self._answered(ended.exchange)
        if self._events:
            return self._events.popleft()
        return self.server.poll_event() or self.notifier.poll_event()

    # The hook

    def _asked(self, request: HttpRequest) -> HttpResponse | None:
        if request.path != self.hook:
            return None
        if request.method != "POST":
            return HttpResponse(405, b"only POST\n", headers=(("Allow", "POST"),))
        if self._secret is not None and not is_signed(self._secret, request):
            return UNSIGNED
        key = request.source[0], request.header(DELIVERY) or ""
        number = self._known.get(key) if key[1] else None
        if number is None:
            if len(self._queue) >= MAX_WAITING:
                return HttpResponse(503, b"too many commits wait\n")
            number = self._queued(request, key)
        body = msgspec.json.encode({"run": number})
        return HttpResponse(202, body, content_type="application/json")

    def _queued(self, request: HttpRequest, key: tuple[str, str]) -> int:
        """A new run; its number."""
        self._count += 1
        self._known[key] = self._count
        if len(self._known) > KEPT + MAX_WAITING:
            del self._known[next(iter(self._known))]
        stages = tuple(
            StageRun(stage.name, tuple(Deploy(target) for target in stage.targets)) for stage in self.plan
        )
        run = Run(self._count, request.source, request.at, stages)
        self.runs.append(run)
        self._queue.append(run)
        self._next_run(request.at)
        return run.number

    # A run

    def _next_run(self, now: float) -> None:
        if self._current is None and self._queue:
            run = self._current = self._queue.popleft()
            run.started_at = now
            self._move(run, State.BUILDING, now)
            self._building.set(run.number, now + self._build_time)

    def _deploy(self, now: float) -> None:
        """Begin the first stage that waits; without one, the run has passed."""
        run = self._current
        assert run is not None
        stage = next((stage for stage in run.stages if stage.state is State.WAITING), None)
        if stage is None:
            self._end(run, State.PASSED, now)
            return
        run.state = State.DEPLOYING
        stage.started_at = now
        self._move(stage, State.DEPLOYING, now)
        body = msgspec.json.encode({"event": "deploy", "run": run.number, "stage": stage.name})
        headers: Headers = (("Content-Type", "application/json"),)
        if self._secret is not None:
            headers += ((SIGNATURE, signature(self._secret, body)),)
        for deploy in stage.deploys:
            host, port, path = deploy.target
            exchange = self._client.request(
                "POST", host, port, path, headers, body, now=now, timeout=self._timeout
            )
            self._exchanges[exchange] = deploy

    def _answered(self, exchange: HttpExchange) -> None:
        """One machine has taken the build, or not; the stage ends with its last."""
        deploy, run = self._exchanges.pop(exchange), self._current
        assert run is not None and exchange.ended_at is not None
        now = deploy.ended_at = exchange.ended_at
        deploy.status = exchange.status
        deploy.reason = "" if exchange.ok else str(exchange.reason or exchange.status)
        stage = next(stage for stage in run.stages if stage.state is State.DEPLOYING)
        if any(other.ended_at is None for other in stage.deploys):
            return
        passed = all(other.ok for other in stage.deploys)
        stage.ended_at = now
        self._move(stage, State.PASSED if passed else State.FAILED, now)
        self._tell(run, stage, now)
        if passed:
            self._deploy(now)
        else:
            self._end(run, State.FAILED, now)

    def _tell(self, run: Run, stage: StageRun, now: float) -> None:
        refused = [deploy.target.host for deploy in stage.deploys if not deploy.ok]
        event = {
            "event": "failed" if refused else "deployed",
            "run": run.number,
            "stage": stage.name,
            "refused_by": refused,
        }
        run.notices += self.notifier.post(event, now)

    def _end(self, run: Run, state: State, now: float) -> None:
        run.ended_at = now
        self._move(run, state, now)
        self._current = None
        self._next_run(now)

    def _move(self, what: Run | StageRun, state: State, now: float) -> None:
        what.state = state
        run = self._current
        assert run is not None
        self._events.append(Progress(run, what.name if isinstance(what, StageRun) else "", state, now))
