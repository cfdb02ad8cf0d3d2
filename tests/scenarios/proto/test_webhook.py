"""Webhooks: every event reaches every target at least once, or the record says why not."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from scenarios.proto.http import HttpRequest, HttpResponse
from scenarios.proto.http_client import HttpClient
from scenarios.proto.http_server import HttpServer
from scenarios.proto.webhook import (
    DELIVERY,
    KEPT,
    SIGNATURE,
    Delivery,
    DeliveryEnded,
    Retries,
    WebhookReceiver,
    WebhookSender,
    signature,
    signed_posts,
)
from tests.scenarios.proto.tcp_world import CLIENT, SERVER, Path, TcpWorld

SECRET = b"it's a secret to everybody"


class Hooks:
    """A sender on one host, a receiver on the other; `told` is what the sender's host hears."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        secret: bytes | None = None,
        receiver: HttpServer | None = None,
        targets: tuple[tuple[str, int, str], ...] = ((SERVER, 8080, "/hook"),),
        **more: object,
    ) -> None:
        self.world = TcpWorld(path)
        self.receiver = WebhookReceiver(8080, "/hook", secret=secret)
        self.world.server.add_stream(receiver or self.receiver)
        self.sender = WebhookSender(targets, secret=secret, **more)  # type: ignore[arg-type]
        self.world.client.add_stream(self.sender)
        self.told: list[Delivery] = []
        self.world.client.on_event = lambda event: (
            self.told.append(event.event.delivery) if isinstance(event.event, DeliveryEnded) else None
        )

    def post(self, event: object = "ping") -> Delivery:
        (delivery,) = self.sender.post(event, self.world.now)
        self.world.run()
        return delivery


def test_an_event_is_delivered_and_recorded_at_both_ends() -> None:
    hooks = Hooks()
    delivery = hooks.post({"call": 7, "state": ["ringing", None]})
    assert (delivery.delivered, delivery.attempts, delivery.status, delivery.reason) == (True, 1, 204, "")
    assert delivery.delivered_at == pytest.approx(0.08)
    (received,) = hooks.receiver.received
    assert (received.event, received.source[0], received.repeated) == (
        {"call": 7, "state": ["ringing", None]},
        CLIENT,
        False,
    )
    (entry,) = hooks.receiver.log
    assert ("content-type", "application/json") in entry.headers
    assert hooks.told == [delivery] == list(hooks.sender.deliveries)


def test_each_target_has_its_own_fate() -> None:
    hooks = Hooks(targets=((SERVER, 8080, "/hook"), (SERVER, 8080, "/elsewhere"), (SERVER, 9, "/")))
    made = hooks.sender.post(1, 0.0)
    hooks.world.run()
    assert [(d.delivered, d.attempts, d.status, d.reason) for d in made] == [
        (True, 1, 204, ""),
        (False, 1, 404, "404"),
        (False, 5, None, "refused"),
    ]
    assert all(d.ended for d in made)


def test_attempts_are_repeated_with_growing_pauses() -> None:
    answers = iter([500, 503, 429])
    seen: list[float] = []

    def busy(request: object) -> HttpResponse:
        seen.append(hooks.world.now)
        return HttpResponse(next(answers, 200))

    hooks = Hooks(receiver=HttpServer(8080, handler=busy))
    delivery = hooks.post()
    assert (delivery.delivered, delivery.attempts, delivery.status) == (True, 4, 200)
    assert [b - a for a, b in zip(seen, seen[1:], strict=False)] == pytest.approx([1.08, 2.08, 4.08])  # noqa: RUF007
    assert len(hooks.told) == 1


def test_pauses_have_a_limit() -> None:
    retries = Retries(first=2.0, factor=3.0, longest=10.0)
    assert [retries.pause(attempt) for attempt in (1, 2, 3, 10_000)] == [2.0, 6.0, 10.0, 10.0]


def test_a_network_that_comes_back_gets_the_event() -> None:
    hooks = Hooks(Path(vanish=lambda sender, wire: True), retries=Retries(timeout=3.0))
    (delivery,) = hooks.sender.post("late", 0.0)
    hooks.world.run(5.0)
    assert (delivery.attempts, delivery.reason, delivery.ended) == (2, "timeout", False)
    hooks.world.path = Path()
    hooks.world.run()
    assert delivery.delivered
    assert [received.event for received in hooks.receiver.received] == ["late"]


def test_an_event_whose_answer_was_lost_comes_twice_and_is_known() -> None:
    def vanish(sender: str, wire: object) -> bool:
        return sender == "server" and hooks.world.now < 5.0 and bool(hooks.receiver.received)

    hooks = Hooks(Path(vanish=vanish), retries=Retries(timeout=3.0))
    delivery = hooks.post()
    assert (delivery.delivered, delivery.attempts) == (True, 2)
    assert [received.repeated for received in hooks.receiver.received] == [False, True]
    hooks.post()
    assert [received.repeated for received in hooks.receiver.received] == [False, True, False]


def test_a_sender_does_not_queue_without_end() -> None:
    hooks = Hooks(Path(vanish=lambda sender, wire: True), max_waiting=2)
    made = [hooks.sender.post(n, 0.0)[0] for n in range(3)]
    assert [(d.ended, d.attempts, d.reason) for d in made] == [
        (False, 1, ""),
        (False, 1, ""),
        (True, 0, "queue full"),
    ]
    hooks.world.run()
    hooks.world.path = Path()
    assert hooks.post().delivered  # there is room again


def test_what_json_cannot_hold_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError):
        Hooks().sender.post(object(), 0.0)


def test_a_receiver_remembers_only_the_latest_deliveries() -> None:
    receiver = WebhookReceiver()
    assert receiver.handler is not None
    for number in (*range(KEPT + 1), KEPT, 1, 0):
        headers = ((DELIVERY, str(number)),)
        receiver.handler(HttpRequest(0.0, (CLIENT, 50_000), "POST", "/", headers, b"1"))
    assert [received.repeated for received in receiver.received][-3:] == [True, True, False]
    assert len(receiver.received) == KEPT


# -- signatures


def test_a_signed_event_is_taken() -> None:
    hooks = Hooks(secret=SECRET)
    assert hooks.post({"a": 1}).delivered
    (entry,) = hooks.receiver.log
    expected = "sha256=" + hmac.new(SECRET, b'{"a":1}', hashlib.sha256).hexdigest()
    assert ("x-hub-signature-256", expected) in entry.headers
    assert signature(b"It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"  # GitHub's own example
    )


@pytest.mark.parametrize("given", [None, "", "sha256=", "sha1=abc", signature(b"other", b"1"), "ÿ"])
def test_an_event_without_the_right_signature_is_refused(given: str | None) -> None:
    world = TcpWorld()
    receiver, client = WebhookReceiver(80, "/hook", secret=SECRET), HttpClient()
    world.server.add_stream(receiver)
    world.client.add_stream(client)
    headers = () if given is None else (("X-Hub-Signature-256", given),)
    exchange = client.request("POST", SERVER, 80, "/hook", headers, b"1", now=0.0)
    world.run()
    assert (exchange.status, list(receiver.received)) == (401, [])


def test_no_secret_is_ever_shown() -> None:
    hooks = Hooks(secret=SECRET)
    delivery = hooks.post()
    shown = repr((hooks.sender, hooks.receiver, delivery, hooks.receiver.log, hooks.receiver.received))
    assert SECRET.decode() not in shown


# -- strangers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/hook", b"{", 400),
        ("POST", "/hook", b"", 400),
        ("POST", "/hook", b"\xff", 400),
        ("POST", "/hook", b'"\xff"', 400),
        ("POST", "/hook", b"[" * 100_000, 400),
        ("POST", "/hook", b'"\\ud800"', 400),
        ("GET", "/hook", b"", 405),
        ("POST", "/", b"1", 404),
        ("POST", "/hook", b"1", 204),
    ],
)
def test_what_is_no_event_is_refused(method: str, path: str, body: bytes, status: int) -> None:
    world = TcpWorld()
    receiver, client = WebhookReceiver(80, "/hook"), HttpClient()
    world.server.add_stream(receiver)
    world.client.add_stream(client)
    exchange = client.request(method, SERVER, 80, path, body=body, now=0.0)
    world.run()
    assert exchange.status == status
    assert len(receiver.received) == (status == 204)
    assert not receiver.counters


def test_an_event_can_have_targets_and_a_secret_of_its_own() -> None:
    hooks = Hooks(secret=SECRET, targets=())
    sender = WebhookSender((("192.0.2.1", 1, "/"),), name="ci-")
    hooks.world.client.add_stream(sender)
    (delivery,) = sender.post("x", hooks.world.now, targets=[(SERVER, 8080, "/hook")], secret=SECRET)
    hooks.world.run()
    assert delivery.delivered
    assert [(event.ident, event.event) for event in hooks.receiver.received] == [("ci-1", "x")]


def test_a_delivery_that_is_given_up_is_tried_no_more() -> None:
    hooks = Hooks(receiver=HttpServer(8080, {"/hook": HttpResponse(503)}), max_waiting=1)
    (delivery,) = hooks.sender.post("x", hooks.world.now)
    hooks.world.run(0.5)
    assert (delivery.attempts, delivery.ended) == (1, False)
    hooks.sender.give_up(delivery, hooks.world.now)
    hooks.sender.give_up(delivery, hooks.world.now)
    hooks.world.run()
    assert (delivery.attempts, delivery.given_up_at, delivery.delivered) == (1, 0.5, False)
    assert hooks.post("y").attempts == 5, "there is room again"


def test_what_comes_of_an_attempt_after_it_was_given_up_changes_nothing() -> None:
    hooks = Hooks(receiver=HttpServer(8080, {"/hook": HttpResponse(204, delay=1.0)}))
    (delivery,) = hooks.sender.post("x", hooks.world.now)
    hooks.world.run(0.5)
    hooks.sender.give_up(delivery, hooks.world.now)
    hooks.world.run()
    assert (delivery.delivered, delivery.status) == (False, None)
    assert [told.ident for told in hooks.told] == ["1"]


@pytest.mark.parametrize(
    ("method", "body", "headers", "status"),
    [
        ("POST", b"x", ((SIGNATURE, signature(SECRET, b"x")),), 200),
        ("POST", b"x", ((SIGNATURE, signature(SECRET, b"y")),), 401),
        ("POST", b"x", (), 401),
        ("GET", b"", (), 200),
    ],
)
def test_a_server_can_want_its_posts_signed(
    method: str, body: bytes, headers: tuple[tuple[str, str], ...], status: int
) -> None:
    server = HttpServer(8080, {"/": HttpResponse()}, handler=signed_posts(SECRET))
    hooks = Hooks(receiver=server)
    client = HttpClient()
    hooks.world.client.add_stream(client)
    asked = client.request(method, SERVER, 8080, "/", headers, body, now=hooks.world.now)
    hooks.world.run()
    assert asked.status == status
