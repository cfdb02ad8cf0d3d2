"""The directory decides by source address, writes down who asked, and reaches its clients by itself."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import NEVER, BadPacket
from scenarios.proto.app import Endpoint
from scenarios.proto.directory_agent import MAX_REQUESTS, DirectoryAgent, PolicyApplied, Request, RequestEnded
from scenarios.proto.directory_message import (
    MAX_SIZE,
    MAX_TEXT,
    MAX_VERSION,
    Kind,
    Message,
    Verdict,
    encode,
    message_untrusted,
    proof,
    version_untrusted,
)
from scenarios.proto.directory_server import (
    AGENT_PORT,
    DIRECTORY_PORT,
    MAX_ATTEMPTS,
    PUSH_PORT,
    SESSION_LIFETIME,
    AuditEntry,
    DeliveryState,
    DirectoryServer,
    PolicyDelivered,
)
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger

SERVER = ("10.0.50.10", DIRECTORY_PORT)
PUSHER = (SERVER[0], PUSH_PORT)
ALICE, BOB, EVE = "100.96.0.12", "100.96.0.13", "192.168.1.66"
USERS = {"alice": "secret", "bob": "hunter2"}
ALLOW = {"100.96.0.0/24": "reader", "100.96.0.13/32": "admin", "fd00:96::/64": "reader"}


class World:
    """A server and agents by address; `carry` moves datagrams until all is quiet."""

    def __init__(self, **options: object) -> None:
        self.server = DirectoryServer(
            **{"users": USERS, "allow": ALLOW, "names": {"printer": "10.0.50.99"}, **options}  # type: ignore[arg-type]
        )
        self.agents: dict[str, DirectoryAgent] = {}
        self.cut: set[str] = set()
        """Addresses that nothing reaches and that reach nothing."""
        for number, (address, user) in enumerate(((ALICE, "alice"), (BOB, "bob"), (EVE, "alice"))):
            self.agents[address] = DirectoryAgent(SERVER, user, USERS[user], Random(number))

    def carry(self, now: float = 0.0) -> None:
        moved = True
        while moved:
            moved = False
            for address, agent in self.agents.items():
                for port, server, data in agent.poll_transmit():
                    assert server in (SERVER, PUSHER)
                    if address not in self.cut:
                        self.server.handle_datagram(server[1], (address, port), data, now)
                        moved = True
            for port, (address, to), data in self.server.poll_transmit():
                agent = self.agents[address]
                if address not in self.cut and agent.wants(to):
                    agent.handle_datagram(to, (SERVER[0], port), data, now)
                    moved = True

    def done(self, request: Request, now: float = 0.0) -> Request:
        self.carry(now)
        return request

    def audited(self) -> list[tuple[str, str, Kind, Verdict]]:
        return [(entry.source[0], entry.user, entry.request, entry.verdict) for entry in self.server.audit]


# Who may do what


def test_the_source_address_decides_what_a_user_may_do() -> None:
    world = World()
    alice, bob, eve = world.agents.values()
    bound = [world.done(agent.bind(0.0)) for agent in (alice, bob, eve)]
    assert [(b.verdict, b.text) for b in bound] == [
        (Verdict.OK, "reader"),
        (Verdict.OK, "admin"),
        (Verdict.REFUSED, ""),
    ]
    assert (alice.bound, eve.bound) == (True, False)
    assert world.done(alice.modify("printer", "x", 0.0)).verdict is Verdict.FORBIDDEN
    assert world.done(bob.modify("printer", "10.0.50.98", 0.0)).verdict is Verdict.OK
    found = world.done(alice.search("printer", 0.0))
    assert (found.verdict, found.text) == (Verdict.OK, "10.0.50.98")
    assert world.done(alice.search("scanner", 0.0)).verdict is Verdict.NO_SUCH_NAME
    assert world.done(eve.search("printer", 0.0)).verdict is Verdict.REFUSED
    assert world.audited() == [
        (ALICE, "alice", Kind.BIND, Verdict.OK),
        (BOB, "bob", Kind.BIND, Verdict.OK),
        (EVE, "alice", Kind.BIND, Verdict.REFUSED),
        (ALICE, "alice", Kind.MODIFY, Verdict.FORBIDDEN),
        (BOB, "bob", Kind.MODIFY, Verdict.OK),
        (ALICE, "alice", Kind.SEARCH, Verdict.OK),
        (ALICE, "alice", Kind.SEARCH, Verdict.NO_SUCH_NAME),
        (EVE, "", Kind.SEARCH, Verdict.REFUSED),
    ]
    assert world.server.verdicts[Verdict.OK] == 4
    assert world.server.clients == [ALICE, BOB]


def test_the_longest_prefix_gives_the_role() -> None:
    server = World().server
    assert [server.role_of(a) for a in (ALICE, BOB, EVE, "fd00:96::1", "fd00:97::1")] == [
        "reader",
        "admin",
        None,
        "reader",
        None,
    ]


def test_only_who_has_bound_from_that_address_and_port_may_ask() -> None:
    world = World()
    alice = world.agents[ALICE]
    assert world.done(alice.search("printer", 0.0)).verdict is Verdict.NOT_BOUND
    world.done(alice.bind(0.0))
    data = encode(Message(Kind.SEARCH, 7, ("printer",)))
    for source in ((BOB, AGENT_PORT), (ALICE, AGENT_PORT + 1)):
        world.server.handle_datagram(DIRECTORY_PORT, source, data, 0.0)
        (answer,) = world.server.poll_transmit()
        assert message_untrusted(answer[2]) == (Kind.RESULT, 7, (Verdict.NOT_BOUND, ""))
    assert (
        world.done(alice.search("printer", SESSION_LIFETIME - 1), SESSION_LIFETIME - 1).verdict is Verdict.OK
    )
    assert alice.bound
    late = world.done(alice.search("printer", SESSION_LIFETIME), SESSION_LIFETIME)
    assert (late.verdict, alice.bound) == (Verdict.NOT_BOUND, False)


@pytest.mark.parametrize("user", ["alice", "nobody", ""])
def test_a_wrong_password_or_user_is_no_bind(user: str) -> None:
    world = World()
    world.agents[ALICE] = agent = DirectoryAgent(SERVER, user, "guess", Random(1))
    assert world.done(agent.bind(0.0)).verdict is Verdict.BAD_CREDENTIALS
    assert not agent.bound
    assert world.server.clients == []
    assert world.done(agent.search("printer", 0.0)).verdict is Verdict.NOT_BOUND


def test_a_proof_is_for_one_nonce_one_user_and_one_password() -> None:
    true = proof("secret", "nonce", "alice")
    assert (
        len(
            {
                true,
                proof("secret", "other", "alice"),
                proof("secret", "nonce", "bob"),
                proof("x", "nonce", "alice"),
            }
        )
        == 4
    )
    world = World()
    for given_proof in ("", true[:-1], true.upper(), "ä"):
        data = encode(Message(Kind.BIND, 1, ("alice", "nonce", given_proof)))
        world.server.handle_datagram(DIRECTORY_PORT, (ALICE, 1), data, 0.0)
    data = encode(Message(Kind.BIND, 1, ("alice", "nonce", true)))
    world.server.handle_datagram(DIRECTORY_PORT, (ALICE, 1), data, 0.0)
    assert [entry.verdict for entry in world.server.audit] == [Verdict.BAD_CREDENTIALS] * 4 + [Verdict.OK]


def test_a_password_is_on_no_wire_and_in_no_text() -> None:
    agent = DirectoryAgent(SERVER, "alice", "secret", Random(1))
    request = agent.bind(0.0)
    assert all(b"secret" not in data for _, _, data in agent.poll_transmit())
    assert "secret" not in repr(request) + repr(agent) + repr(World().server)


# Policy that the server sends


def test_the_server_reaches_its_clients_by_itself() -> None:
    world = World(clients=[BOB])
    world.done(world.agents[ALICE].bind(0.0))
    assert world.server.push("update 7", 1.0) == 1
    world.carry(1.05)
    for address in (ALICE, BOB):
        assert (world.agents[address].policy_version, world.agents[address].policy) == (1, "update 7")
        delivery = world.server.deliveries[address]
        assert (delivery.state, delivery.attempts, delivery.applied_at) == (DeliveryState.APPLIED, 1, 1.05)
    assert world.agents[EVE].policy_version == 0
    assert world.server.poll_timeout() == NEVER
    events = []
    while (event := world.server.poll_event()) is not None:
        events.append(event)
    assert [type(event) for event in events] == [AuditEntry, PolicyDelivered, PolicyDelivered]
    agent = world.agents[BOB]
    assert agent.poll_event() == PolicyApplied(1, "update 7", 1.05)
    assert agent.poll_event() is None


def test_an_unreachable_client_is_tried_again_and_recorded() -> None:
    world = World(clients=[ALICE])
    world.cut.add(ALICE)
    world.server.push("update", 0.0)
    world.carry(0.0)
    times = []
    while (now := world.server.poll_timeout()) < NEVER:
        times.append(now)
        world.server.handle_timeout(now)
        world.carry(now)
    assert times == [1.0, 3.0, 7.0, 15.0, 31.0]
    delivery = world.server.deliveries[ALICE]
    assert (delivery.state, delivery.attempts) == (DeliveryState.UNREACHABLE, MAX_ATTEMPTS)
    assert world.server.poll_event() == PolicyDelivered(delivery, 31.0)

    world.cut.clear()
    world.done(world.agents[ALICE].bind(40.0), 40.0)  # it comes back: what it missed follows its bind
    assert world.agents[ALICE].policy_version == 1
    assert world.server.deliveries[ALICE].state is DeliveryState.APPLIED


def test_a_client_that_comes_back_in_time_gets_the_next_attempt() -> None:
    world = World(clients=[ALICE])
    world.cut.add(ALICE)
    world.server.push("update", 0.0)
    world.carry(0.0)
    world.cut.clear()
    world.server.handle_timeout(1.0)
    world.carry(1.0)
    delivery = world.server.deliveries[ALICE]
    assert (delivery.state, delivery.attempts) == (DeliveryState.APPLIED, 2)


def test_a_lost_acknowledgement_is_said_again_and_nothing_is_applied_twice() -> None:
    world = World(clients=[ALICE])
    world.server.push("update", 0.0)
    agent = world.agents[ALICE]
    ((_, _, policy),) = world.server.poll_transmit()
    for _ in range(2):
        agent.handle_datagram(AGENT_PORT, PUSHER, policy, 0.0)
    first, second = agent.poll_transmit()
    assert first == second
    assert agent.poll_event() == PolicyApplied(1, "update", 0.0)
    assert agent.poll_event() is None


def test_an_older_policy_does_not_replace_a_newer_one() -> None:
    world = World(clients=[ALICE])
    world.server.push("old", 0.0)
    ((_, _, old),) = world.server.poll_transmit()
    world.server.push("new", 0.1)
    world.carry(0.1)
    agent = world.agents[ALICE]
    agent.handle_datagram(AGENT_PORT, PUSHER, old, 0.2)
    assert (agent.policy_version, agent.policy) == (2, "new")
    superseded = world.server.poll_event()
    assert isinstance(superseded, PolicyDelivered)
    assert (superseded.delivery.version, superseded.delivery.state) == (1, DeliveryState.SUPERSEDED)


def test_a_bind_brings_no_policy_that_is_there_or_on_its_way() -> None:
    world = World()
    agent = world.agents[ALICE]
    world.done(agent.bind(0.0))
    assert world.server.deliveries == {}  # there is no policy yet
    world.server.push("update", 1.0)
    first = world.server.deliveries[ALICE]
    data = agent.bind(1.0).data
    world.server.handle_datagram(DIRECTORY_PORT, (ALICE, AGENT_PORT), data, 1.0)
    assert world.server.deliveries[ALICE] is first
    world.carry(1.0)
    world.done(agent.bind(2.0), 2.0)
    assert world.server.deliveries[ALICE] is first
    world.server.push("next", 3.0)
    assert first.state is DeliveryState.APPLIED  # not superseded: it was there


@pytest.mark.parametrize(
    ("source", "ident", "version"),
    [
        ((BOB, AGENT_PORT), 1, "1"),
        ((ALICE, AGENT_PORT + 1), 1, "1"),
        ((ALICE, AGENT_PORT), 2, "1"),
        ((ALICE, AGENT_PORT), 1, "2"),
    ],
)
def test_only_the_client_itself_acknowledges_its_policy(source: Endpoint, ident: int, version: str) -> None:
    server = World(clients=[ALICE]).server
    server.push("update", 0.0)
    server.handle_datagram(DIRECTORY_PORT, source, encode(Message(Kind.APPLIED, ident, (version,))), 0.1)
    assert server.deliveries[ALICE].state is DeliveryState.PENDING
    assert server.dropped == {"unexpected": 1}
    true = encode(Message(Kind.APPLIED, 1, ("1",)))
    for _ in range(2):
        server.handle_datagram(DIRECTORY_PORT, (ALICE, AGENT_PORT), true, 0.2)
    assert server.deliveries[ALICE].applied_at == 0.2
    assert server.dropped == {"unexpected": 2}


def test_an_agent_believes_its_server_only() -> None:
    agent = World().agents[ALICE]
    policy = encode(Message(Kind.POLICY, 1, ("1", "evil")))
    for source in ((EVE, DIRECTORY_PORT), (EVE, PUSH_PORT), (SERVER[0], 4000)):
        agent.handle_datagram(AGENT_PORT, source, policy, 0.0)
    assert (agent.policy_version, agent.poll_transmit()) == (0, [])
    assert agent.dropped == {"wrong_source": 3}
    agent.handle_datagram(AGENT_PORT, PUSHER, policy, 0.0)
    assert agent.policy_version == 1


# Requests and their patience


def test_a_request_is_repeated_and_then_given_up() -> None:
    agent = World().agents[ALICE]
    request = agent.search("printer", 0.0)
    sent = agent.poll_transmit()
    for at in (1.0, 3.0, 7.0, 15.0):
        assert agent.poll_timeout() == at
        agent.handle_timeout(at)
        sent += agent.poll_transmit()
    assert len(sent) == request.attempts == 4
    assert len(set(sent)) == 1
    assert (request.verdict, request.took) == (None, 15.0)
    assert agent.poll_event() == RequestEnded(request)
    assert agent.poll_timeout() == NEVER


def test_results_belong_to_requests_that_wait() -> None:
    world = World()
    agent = world.agents[ALICE]
    request = agent.bind(0.0)
    for message in (
        Message(Kind.RESULT, request.ident ^ 1, (Verdict.OK, "")),
        Message(Kind.RESULT, request.ident, ("maybe", "")),
        Message(Kind.BIND, request.ident, (Verdict.OK, "b", "c")),
    ):
        agent.handle_datagram(AGENT_PORT, SERVER, encode(message), 0.0)
    assert agent.dropped == {"unexpected": 3}
    found = agent.search("printer", 0.0)
    agent.handle_datagram(
        AGENT_PORT, SERVER, encode(Message(Kind.RESULT, found.ident, (Verdict.OK, ""))), 0.0
    )
    assert found.verdict is Verdict.OK
    assert not agent.bound  # only a bind binds
    world.done(request, 0.25)
    assert (agent.bound, request.took) == (True, 0.25)
    again = encode(Message(Kind.RESULT, request.ident, (Verdict.REFUSED, "")))
    agent.handle_datagram(AGENT_PORT, SERVER, again, 0.3)
    assert agent.bound


def test_what_is_said_fits_a_datagram() -> None:
    world = World()
    agent = world.agents[BOB]
    for text in ("x" * (MAX_TEXT + 1), "line\nbreak", "\ud800"):
        with pytest.raises(ValueError):
            agent.search(text, 0.0)
        with pytest.raises(ValueError):
            world.server.push(text, 0.0)
        with pytest.raises(ValueError):
            World(names={"a": text})
    assert (world.server.version, agent.poll_transmit()) == (0, [])
    world.done(agent.bind(0.0))
    longest = "y" * MAX_TEXT
    assert world.done(agent.modify("", longest, 0.0)).verdict is Verdict.OK
    assert world.done(agent.search("", 0.0)).text == longest


def test_what_a_directory_cannot_be_made_of() -> None:
    for wrong in ({"allow": {"100.96.0.0/24": "king"}}, {"allow": {"here": "admin"}}, {"clients": ["here"]}):
        with pytest.raises(ValueError):
            World(**wrong)


# Strangers


def test_tables_have_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_SESSIONS", "MAX_CLIENTS", "MAX_NAMES"):
        monkeypatch.setattr(f"scenarios.proto.directory_server.{name}", 3)
    server = World(allow={"0.0.0.0/0": "admin"}, names={}).server
    bind = encode(Message(Kind.BIND, 1, ("alice", "n", proof("secret", "n", "alice"))))
    sources = [(f"10.9.0.{n}", AGENT_PORT) for n in range(5)]
    for source in sources:
        server.handle_datagram(DIRECTORY_PORT, source, bind, 0.0)
    assert len(server.clients) == 3
    assert server.dropped == {"too_many_clients": 2}

    def modify(source: Endpoint, name: str) -> Verdict:
        server.handle_datagram(DIRECTORY_PORT, source, encode(Message(Kind.MODIFY, 1, (name, "x"))), 0.0)
        return server.audit[-1].verdict

    assert [modify(source, "a") for source in sources] == [Verdict.NOT_BOUND] * 2 + [Verdict.OK] * 3
    assert [modify(sources[4], name) for name in "bcda"] == [Verdict.OK, Verdict.OK, Verdict.FULL, Verdict.OK]
    assert list(server.names) == ["a", "b", "c"]
    server.handle_datagram(DIRECTORY_PORT, sources[2], bind, 0.0)  # the oldest session becomes the newest
    server.handle_datagram(DIRECTORY_PORT, sources[0], bind, 0.0)
    assert server.dropped == {"too_many_clients": 2}  # both are known
    assert [modify(source, "a") for source in sources[2:4]] == [Verdict.OK, Verdict.NOT_BOUND]


def test_the_audit_log_is_capped_and_its_counts_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.proto.directory_server.AUDITED", 100)
    server = World().server
    data = encode(Message(Kind.SEARCH, 1, ("printer",)))
    for n in range(105):
        server.handle_datagram(DIRECTORY_PORT, (EVE, 1), data, float(n))
        server.poll_transmit()
    assert len(server.audit) == 100
    assert server.audit[0].at == 5.0
    assert server.verdicts == {Verdict.REFUSED: 105}


def test_a_user_that_is_made_up_does_not_fill_the_log() -> None:
    world = World()
    world.agents[ALICE] = agent = DirectoryAgent(SERVER, "u" * 500, "x", Random(1))
    world.done(agent.bind(0.0))
    assert world.server.audit[0].user == "u" * 64


def test_requests_wait_up_to_a_limit() -> None:
    agent = World().agents[ALICE]
    for _ in range(MAX_REQUESTS):
        agent.search("printer", 0.0)
    with pytest.raises(ValueError, match="wait already"):
        agent.search("printer", 0.0)


GOOD = encode(Message(Kind.SEARCH, 1, ("printer",)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD[:8],
        GOOD[:9],
        GOOD + b"\0",
        GOOD + b"\0\0",
        b"XX" + GOOD[2:],
        b"PD\2" + GOOD[3:],
        b"PD\1\0" + GOOD[4:],
        b"PD\1\7" + GOOD[4:],
        GOOD[:10] + b"\xff" * 7,
        GOOD[:10] + b"a\nb\0cde",
        GOOD + bytes(MAX_SIZE),
        GOOD[:8] + (MAX_TEXT + 1).to_bytes(2) + b"x" * (MAX_TEXT + 1),
        b"PD\1\2" + bytes(4) + (1192).to_bytes(2) + b"x" * 10,
    ],
)
def test_what_is_no_message_is_counted_and_not_answered(data: bytes) -> None:
    assert message_untrusted(GOOD) == (Kind.SEARCH, 1, ("printer",))
    with pytest.raises(BadPacket):
        message_untrusted(data)
    server = World().server
    server.handle_datagram(DIRECTORY_PORT, (ALICE, 1), data, 0.0)
    assert (sum(server.dropped.values()), server.poll_transmit(), len(server.audit)) == (1, [], 0)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "٣", "1" * 11, str(MAX_VERSION + 1), " 1"])
def test_versions_are_numbers_from_one(text: str) -> None:
    assert version_untrusted(str(MAX_VERSION)) == MAX_VERSION
    with pytest.raises(BadPacket):
        version_untrusted(text)
    agent = World().agents[ALICE]
    agent.handle_datagram(AGENT_PORT, PUSHER, encode(Message(Kind.POLICY, 1, (text, "x"))), 0.0)
    assert agent.policy_version == 0
    assert sum(agent.dropped.values()) == 1


@pytest.mark.parametrize("kind", [Kind.RESULT, Kind.POLICY])
def test_a_server_does_not_answer_what_servers_say(kind: Kind) -> None:
    server = World().server
    server.handle_datagram(DIRECTORY_PORT, (ALICE, 1), encode(Message(kind, 1, ("1", ""))), 0.0)
    assert (server.dropped, server.poll_transmit()) == ({"unexpected": 1}, [])


@settings(deadline=None)
@given(st.sampled_from(Kind), st.lists(st.binary(max_size=12), max_size=4), st.binary(max_size=9))
def test_nothing_that_arrives_raises(kind: Kind, texts: list[bytes], tail: bytes) -> None:
    data = b"PD\1" + bytes([kind]) + bytes(4) + b"".join(len(t).to_bytes(2) + t for t in texts) + tail
    world = World()
    world.server.push("x", 0.0)
    world.server.handle_datagram(DIRECTORY_PORT, (ALICE, 1), data, 0.0)
    world.agents[ALICE].handle_datagram(AGENT_PORT, SERVER, data, 0.0)
    assert len(world.server.audit) + sum(world.server.dropped.values()) == 1


def test_from_host_to_host() -> None:
    ledger = Ledger()
    alice = Host("alice", ALICE, vnet="acme", ledger=ledger)
    directory = Host("hq/ad", SERVER[0], vnet="acme", ledger=ledger)
    agent = DirectoryAgent(SERVER, "alice", "secret", Random(1))
    server = DirectoryServer(users=USERS, allow=ALLOW)
    alice.add(agent)
    directory.add(server)

    def carry(now: float) -> None:
        for _ in range(3):
            directory.handle_packets(alice.poll_packets(), now)
            alice.handle_packets(directory.poll_packets(), now)

    agent.bind(0.0)
    carry(0.0)
    server.push("update", 1.0)
    carry(1.0)
    assert agent.policy == "update"
    assert server.deliveries[ALICE].state is DeliveryState.APPLIED
    assert server.audit[0].source == (ALICE, AGENT_PORT)
    assert not any(ledger.offences.values())


def test_the_policy_follows_to_the_port_that_a_client_bound_from() -> None:
    world = World()
    agent = world.agents[ALICE] = DirectoryAgent(SERVER, "alice", USERS["alice"], Random(9), port=8530)
    world.done(agent.bind(0.0))
    world.server.push("update", 1.0)
    world.carry(1.0)
    assert agent.policy_version == 1
    assert world.server.deliveries[ALICE].state is DeliveryState.APPLIED


def test_an_administrator_may_number_the_policy_but_not_backwards() -> None:
    world = World(clients=[ALICE])
    assert world.server.push("seven", 0.0, version=7) == 7
    assert world.server.push("again", 0.0, version=7) == 7
    with pytest.raises(ValueError, match="at version 7, after 6"):
        world.server.push("six", 0.0, version=6)
    assert world.server.push("next", 0.0) == 8
    world.carry()
    assert world.agents[ALICE].policy == "next"


def test_a_push_is_a_flow_of_its_own_and_nothing_else_passes_there() -> None:
    world = World(clients=[ALICE])
    agent = world.agents[ALICE]
    policy = encode(Message(Kind.POLICY, 1, ("1", "x")))
    agent.handle_datagram(AGENT_PORT, SERVER, policy, 0.0)
    request = agent.search("printer", 0.0)
    agent.poll_transmit()
    result = encode(Message(Kind.RESULT, request.ident, (Verdict.OK, "x")))
    agent.handle_datagram(AGENT_PORT, PUSHER, result, 0.0)
    assert (agent.policy_version, request.verdict, agent.dropped) == (0, None, {"unexpected": 2})
    world.server.handle_datagram(PUSH_PORT, (ALICE, AGENT_PORT), request.data, 0.0)
    assert world.server.dropped == {"unexpected": 1}
    world.server.push("update", 0.0)
    ((port, client, _),) = world.server.poll_transmit()
    assert (port, client) == (PUSH_PORT, (ALICE, AGENT_PORT))
    assert world.server.wants(PUSH_PORT)
