"""HTTP between two hosts over their TCP: what is asked, answered, logged, timed, refused and cut off."""

from __future__ import annotations

import random

import pytest

from edge.proto.ip import parse_untrusted, tcp_reset
from scenarios.proto.http import HttpRequest, HttpResponse
from scenarios.proto.http_client import Failure, HttpClient, HttpExchange, Phase
from scenarios.proto.http_server import HttpServer, ServerLimits
from scenarios.proto.tcp import StackLimits
from scenarios.proto.tcp_sender import SendLimits
from scenarios.proto.tcp_state import State, TcpLimits
from tests.scenarios.proto.tcp_world import CLIENT, SERVER, Path, Peer, Stream, TcpWorld

PAGE = random.Random(3).randbytes(300_000)


class Web:
    """A client and a server; `raw` speaks to the server without h11."""

    def __init__(
        self,
        server: HttpServer | None = None,
        path: Path | None = None,
        *,
        ipv6: bool = False,
        **more: object,
    ):
        self.world = TcpWorld(path, ipv6=ipv6, **more)  # type: ignore[arg-type]
        self.server = server or HttpServer(routes={"/": HttpResponse(body=b"hello\n")})
        self.client = HttpClient()
        self.world.server.add_stream(self.server)
        self.world.client.add_stream(self.client)
        self.peer = Peer(closes=False)
        self.world.client.add_stream(self.peer)

    def get(self, path: str = "/", method: str = "GET", **more: object) -> HttpExchange:
        exchange = self.ask(path, method, **more)
        self.world.run()
        return exchange

    def ask(self, path: str = "/", method: str = "GET", **more: object) -> HttpExchange:
        port = more.pop("port", self.server.port)
        return self.client.request(
            method,
            self.world.server.address,
            port,
            path,
            now=self.world.now,
            **more,  # type: ignore[arg-type]
        )

    def raw(self, data: bytes, *, until: float = 1.0) -> Stream:
        stream = self.peer.connect((self.world.server.address, self.server.port), data, self.world.now)
        self.world.run(self.world.now + until)
        return stream


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_request_is_answered_logged_and_timed(ipv6: bool) -> None:
    web = Web(ipv6=ipv6)
    exchange = web.get("/?q=1", headers=(("X-Tag", "7"),))
    assert (exchange.state, exchange.status, exchange.body, exchange.ok) == (
        Phase.DONE,
        200,
        b"hello\n",
        True,
    )
    assert exchange.header("Content-Type") == "text/plain; charset=utf-8"
    assert (exchange.connect_seconds, exchange.first_byte_seconds) == pytest.approx((0.04, 0.08))
    assert exchange.total_seconds == pytest.approx(0.08)
    (entry,) = web.server.log
    assert (entry.at, entry.source) == (pytest.approx(0.06), (web.world.client.address, exchange.local_port))
    assert (entry.method, entry.target, entry.status, entry.size) == ("GET", "/?q=1", 200, 0)
    assert ("x-tag", "7") in entry.headers
    assert ("host", "[fd00:50::60]" if ipv6 else SERVER) in entry.headers
    assert web.server.poll_event() is None  # it went to the host's listener
    assert web.world.quiet()
    assert not any(web.world.ledger.offences.values())


def test_the_host_tells_what_its_applications_say() -> None:
    web = Web()
    told: list[object] = []
    for host in (web.world.client, web.world.server):
        host.on_event = lambda event: told.append((event.host.name, type(event.event).__name__))
    web.get()
    assert told == [("server", "Served"), ("client", "ExchangeEnded")]


def test_a_large_page_comes_whole_over_a_bad_path() -> None:
    web = Web(HttpServer(8080, {"/big": HttpResponse(body=PAGE)}), Path(loss=0.05, repeat=0.05, jitter=0.02))
    exchange = web.get("/big", timeout=100.0)
    assert exchange.body == PAGE
    assert ("host", f"{SERVER}:8080") in web.server.log[0].headers


def test_a_callable_answers_before_the_routes_and_sees_everything() -> None:
    seen: list[HttpRequest] = []

    def handler(request: HttpRequest) -> HttpResponse | None:
        seen.append(request)
        return (
            HttpResponse(201, request.body[::-1], headers=(("X-Of", request.source[0]),))
            if request.body
            else None
        )

    web = Web(HttpServer(80, {"/": HttpResponse(body=b"route")}, handler))
    created = web.get("/any?x", "POST", body=PAGE[:5000])
    assert (created.status, created.body, created.header("x-of")) == (201, PAGE[:5000][::-1], CLIENT)
    assert (seen[0].method, seen[0].path, seen[0].target, seen[0].body) == (
        "POST",
        "/any",
        "/any?x",
        PAGE[:5000],
    )
    assert seen[0].header("Content-Length") == "5000"
    assert web.get("/").body == b"route"
    assert web.get("/nowhere").status == 404


@pytest.mark.parametrize(
    "broken",
    [
        lambda request: 1 / 0,
        lambda request: HttpResponse(headers=(("bad header", "x"),)),
        lambda request: HttpResponse(headers=(("x", "a\r\nb: c"),)),
        lambda request: HttpResponse(headers=(("x", "☎"),)),
        lambda request: HttpResponse(status=42),
    ],
)
def test_a_callable_that_fails_is_an_answer_of_500_with_its_reason_in_the_log(broken: object) -> None:
    web = Web(HttpServer(80, handler=broken))  # type: ignore[arg-type]
    assert web.get().status == 500
    assert web.server.counters["handler_failed"] == 1
    assert web.server.log[0].failure
    assert web.world.quiet()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body(method: str, status: int) -> None:
    web = Web(HttpServer(80, {"/": HttpResponse(status, b"" if status != 200 else b"hello")}))
    exchange = web.get("/", method)
    assert (exchange.status, exchange.body, exchange.state) == (status, b"", Phase.DONE)


# -- the client fails


def test_nobody_listens() -> None:
    exchange = Web().get(port=81)
    assert (exchange.state, exchange.reason, exchange.total_seconds) == (Phase.FAILED, Failure.REFUSED, 0.04)
    assert (exchange.status, exchange.ok) == (None, False)


def test_a_router_rejects() -> None:
    web = Web(path=Path(vanish=lambda sender, wire: True))
    exchange = web.ask()
    web.world.collect()
    reset = tcp_reset(web.world.raw[0], parse_untrusted(web.world.raw[0]))
    assert reset is not None
    web.world.inject(web.world.client, reset)
    assert exchange.reason is Failure.REFUSED
    assert not any(web.world.ledger.offences.values())


def test_nobody_answers() -> None:
    web = Web(path=Path(vanish=lambda sender, wire: True))
    exchange = web.get(timeout=5.0)
    assert (exchange.reason, exchange.total_seconds) == (Failure.TIMEOUT, 5.0)
    assert web.world.quiet()


def test_the_server_breaks_off() -> None:
    web = Web()
    mute = Peer(closes=False)
    web.world.server.add_stream(mute)
    assert web.world.server.tcp is not None
    web.world.server.tcp.listen(81, mute)
    exchange = web.ask(port=81)
    web.world.run(1.0)
    mute.streams[0].connection.abort()
    web.world.run()
    assert exchange.reason is Failure.RESET


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", Failure.PROTOCOL),
        (b"", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", None),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nuntil the end and no more",
            None,
        ),
    ],
)
def test_what_is_no_answer(answer: bytes, reason: Failure | None) -> None:
    web = Web()
    web.client.max_body = 4096
    other = Peer(answer=answer)
    web.world.server.add_stream(other)
    assert web.world.server.tcp is not None
    web.world.server.tcp.listen(81, other)
    exchange = web.get(port=81)
    assert exchange.reason is reason
    if reason is None:
        assert exchange.body == b"until the end"
    assert len(exchange.body) <= 4096 + 65_535
    assert web.world.quiet()


def test_headers_without_end_are_not_read_to_the_end() -> None:
    web = Web()
    other = Peer(answer=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, closes=False)
    web.world.server.add_stream(other)
    assert web.world.server.tcp is not None
    web.world.server.tcp.listen(81, other)
    assert web.get(port=81).reason is Failure.PROTOCOL


def test_more_connections_than_the_host_has() -> None:
    web = Web(limits=StackLimits(max_connections=1))
    exchanges = [web.ask() for _ in range(2)]
    web.world.run()
    assert [exchange.reason for exchange in exchanges] == [None, Failure.EXHAUSTED]


@pytest.mark.parametrize(
    "bad", [{"path": "/a b"}, {"headers": (("a\n", "b"),)}, {"method": "G T"}, {"headers": (("a", "☎"),)}]
)
def test_what_is_no_request_is_the_callers_mistake(bad: dict[str, object]) -> None:
    web = Web()
    with pytest.raises(ValueError):
        web.ask(**bad)
    assert web.world.quiet()
    with pytest.raises(ValueError):
        HttpClient().request("GET", SERVER, now=0.0)


# -- the server holds


def test_several_requests_on_one_connection_even_at_once() -> None:
    web = Web()
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = web.raw(request * 3)
    assert bytes(stream.received).count(b"HTTP/1.1 200") == 3
    stream.connection.write(request)
    web.world.run(web.world.now + 1.0)
    assert bytes(stream.received).count(b"hello") == len(web.server.log) == 4
    web.world.run(web.world.now + ServerLimits().idle_timeout)
    assert stream.connection.at_end
    web.world.run()
    assert web.server.counters == {"not_closed": 1}  # the client kept its half open
    assert stream.connection.state is State.CLOSED


def test_a_client_that_asks_and_does_not_read_is_not_asked_for_more() -> None:
    limits = ServerLimits(response_timeout=20.0)
    web = Web(HttpServer(80, {"/": HttpResponse(body=PAGE)}, limits=limits))
    web.peer.reads = False
    stream = web.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000, until=5.0)
    assert len(web.server.log) <= 2  # one that is in our hands, one that is in TCP's
    web.world.run(30.0)
    assert stream.connection.state is State.CLOSED
    assert web.server.counters["response_timeout"] == 1


def test_a_request_that_trickles_is_ended() -> None:
    web = Web()
    stream = web.raw(b"GET / HTTP/1.1\r\n")
    for _ in range(30):
        stream.connection.write(b"X: y\r\n")
        web.world.run(web.world.now + 0.5)
    assert stream.received.startswith(b"HTTP/1.1 408")
    assert web.server.counters["request_timeout"] == 1
    web.world.run()
    assert stream.connection.error is not None or stream.connection.at_end


def test_a_connection_without_a_request_is_closed() -> None:
    web = Web()
    stream = web.raw(b"")
    web.world.run(ServerLimits().idle_timeout + 1.0)
    assert stream.connection.at_end
    assert not web.server.log


@pytest.mark.parametrize(
    ("request_", "status", "counter"),
    [
        (b"nonsense\r\n\r\n", b"400", "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400", "bad_request"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000, b"431", "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", b"413", "body_too_large"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"400",
            "bad_request",
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400", "bad_request"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000,
            b"413",
            "body_too_large",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", b"400", "bad_request"),
    ],
)
def test_bad_requests_get_their_status_and_end_the_connection(
    request_: bytes, status: bytes, counter: str
) -> None:
    web = Web(HttpServer(limits=ServerLimits(max_body=1000)))
    stream = web.raw(request_)
    assert stream.received.startswith(b"HTTP/1.1 " + status)
    assert web.server.counters == {counter: 1}
    assert stream.connection.at_end
    assert not web.server.log
    web.world.run()
    assert web.world.quiet()


def test_random_bytes_raise_nothing() -> None:
    rng = random.Random(9)
    request = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
    web = Web()
    for _ in range(300):
        data = bytearray(request * rng.randint(1, 3))
        for _ in range(rng.randint(0, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        web.raw(bytes(data[: rng.randrange(len(data))]), until=0.2).connection.close()
    web.world.run()
    assert web.world.quiet()
    assert web.get().ok


def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    web = Web(HttpServer(handler=lambda request: HttpResponse(body=request.body)))
    stream = web.raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert stream.received == b"HTTP/1.1 100 \r\n\r\n"
    stream.connection.write(b"abc")
    web.world.run(2.0)
    assert stream.received.endswith(b"\r\n\r\nabc")


def test_a_client_that_has_finished_still_gets_its_answer() -> None:
    web = Web(HttpServer(routes={"/": HttpResponse(body=PAGE)}))
    web.peer.closes = True
    stream = web.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", until=20.0)
    assert stream.received.endswith(PAGE)
    web.world.run()
    assert stream.connection.error is None


def test_connections_are_capped() -> None:
    web = Web(HttpServer(limits=ServerLimits(max_connections=2)))
    streams = [web.raw(b"") for _ in range(3)]
    assert [stream.connection.state is State.CLOSED for stream in streams] == [False, False, True]
    assert web.server.counters["connections_full"] == 1


def test_the_log_is_capped_in_length_and_width() -> None:
    web = Web(HttpServer(limits=ServerLimits(log_entries=2, logged_head=100, logged_body=10)))
    for number in range(3):
        web.get(
            f"/{number}" + "x" * 300, "POST", body=b"b" * 500, headers=(("x-long", "y" * 90), ("x-more", "z"))
        )
    assert [entry.target[:2] for entry in web.server.log] == ["/1", "/2"]
    entry = web.server.log[-1]
    assert (len(entry.target), entry.body, entry.size) == (100, b"b" * 10, 500)
    assert sum(len(key) + len(value) for key, value in entry.headers) <= 100


def test_a_small_send_buffer_delays_but_does_not_cut() -> None:
    limits = StackLimits(connection=TcpLimits(sending=SendLimits(buffer=5000)))
    web = Web(HttpServer(routes={"/": HttpResponse(body=PAGE)}, handler=None), limits=limits)
    exchange = web.get(method="POST", body=PAGE[:100_000])
    assert exchange.body == PAGE
    assert web.server.log[0].size == 100_000


def test_a_server_that_thinks_answers_later_and_in_order() -> None:
    web = Web(HttpServer(routes={"/slow": HttpResponse(body=b"1", delay=2.0), "/": HttpResponse(body=b"2")}))
    exchange = web.ask("/slow")
    head = b"HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = web.raw(b"GET /slow " + head + b"GET / " + head, until=1.0)
    assert not stream.received
    web.world.run()
    assert exchange.total_seconds == pytest.approx(2.08)
    assert exchange.body == b"1"
    assert bytes(stream.received).count(b"HTTP/1.1 200") == 2
    assert bytes(stream.received).index(b"\r\n\r\n1") < bytes(stream.received).index(b"\r\n\r\n2")
    assert "request_timeout" not in web.server.counters


def test_a_client_that_leaves_meanwhile_gets_no_late_answer() -> None:
    web = Web(HttpServer(routes={"/": HttpResponse(delay=5.0)}))
    exchange = web.get(timeout=1.0)
    assert exchange.reason is Failure.TIMEOUT
    assert web.server.served == 0


def test_all_requests_are_counted_by_source_whatever_the_log_keeps() -> None:
    web = Web(HttpServer(limits=ServerLimits(log_entries=2)))
    for _ in range(3):
        web.get()
    assert (web.server.served, web.server.sources, len(web.server.log)) == (
        3,
        {web.world.client.address: 3},
        2,
    )
