"""The PoP's end of HTTP/3: one UDP port, many connections, and strangers who want to have one.

What a stranger can make us keep is bounded: handshakes under way, connections, and per connection what the backend
and ``Connection`` allow. Everything that is not kept is a counted drop or an answer that needs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.io.quic.admission import Admission, Verdict
from edge.io.quic.aioquic_backend import AioquicBackend
from edge.io.quic.backend import CID_LENGTH, LongHeader, QuicBackend
from edge.io.quic.connection import Connection
from edge.io.quic.endpoint import Endpoint, Read, segments
from edge.io.quic.farewell import Farewells
from edge.io.quic.retry import KEY_SIZE, RetryTokens
from edge.io.quic.settings import ServerSettings
from edge.proto.types import Address, BadPacket, DropReason

MIN_INITIAL = 1200  # octets of a datagram with an Initial packet (RFC 9000 section 14.1)
MIN_INITIAL_CID = 8  # octets of the connection id that a client invents (section 7.2)
CONNECTION_REFUSED = 0x2
INVALID_TOKEN = 0xB


class QuicServer(Endpoint):
    """`rng(n)` gives n secret random bytes. ValueError if certificate, key or retry key cannot be used."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        now: float,
        rng: Callable[[int], bytes],
        backend: QuicBackend | None = None,
    ) -> None:
        super().__init__(now)
        self._settings = settings
        self._rng = rng
        self._backend: QuicBackend = backend or AioquicBackend()
        self._listener = self._backend.listen(settings)
        self._tokens = RetryTokens(settings.retry_key or rng(KEY_SIZE), rng=rng)
        self._admission = Admission(settings)
        self._by_cid: dict[bytes, Connection] = {}
        self._known: dict[Connection, None] = {}
        self._farewells = Farewells()

    def reconfigure(self, settings: ServerSettings) -> None:
        """For connections from now on. ValueError, with nothing changed, as from the constructor.

        A new retry key makes tokens void that are under way; without one, ours stays.
        """
        self._listener = self._backend.listen(settings)
        if settings.retry_key != self._settings.retry_key:
            self._tokens = RetryTokens(settings.retry_key or self._rng(KEY_SIZE), rng=self._rng)
        self._admission.reconfigure(settings)
        self._settings = settings

    @property
    def connections(self) -> int:
        """That are held now, handshakes under way included."""
        return len(self._known)

    @property
    def half_open(self) -> int:
        """Handshakes under way."""
        return self._admission.half_open

    @property
    def cids(self) -> int:
        """Connection ids by which datagrams are told apart now."""
        return len(self._by_cid)

    def receive(self, reads: Sequence[Read], now: float) -> None:
        """Take what a socket brought: (bytes, segment size, source) per read, several datagrams where GRO merged."""
        self._now = now
        self._admission.new_turn()
        heard: dict[Connection, None] = {}
        by_cid = self._by_cid
        for data, segment, source in reads:
            for datagram in segments(data, segment):
                self.counters.datagrams_in += 1
                if not datagram:
                    self.drops[DropReason.MALFORMED] += 1
                    continue
                if datagram[0] < 0x80:
                    connection = by_cid.get(datagram[1 : 1 + CID_LENGTH])
                    if connection is None:
                        self._stray(datagram[1 : 1 + CID_LENGTH], source, now)
                        continue
                else:
                    connection = self._newcomer(datagram, source, now)
                    if connection is None:
                        continue
                if connection.ending is None:
                    heard[connection] = None
                    try:
                        connection.receive(datagram, source, now)
                    except Exception as error:  # whatever it was, the others go on
                        self._failed(connection, error)
        for connection in heard:
            self._process(connection, now)

    def close_all(self, code: int, now: float) -> None:
        """Close every connection with an HTTP error code: a drain, or the end."""
        self._now = now
        for connection in list(self._known):
            connection.close(code)

    # -- datagrams of connections --

    def _process(self, connection: Connection, now: float) -> None:
        if not connection.begun:
            self.drops[DropReason.HANDSHAKE_FAILED] += 1  # nothing of it was authentic: it was never there
            self._remove(connection)
            return
        established, moves = connection.established, connection.moves
        self._guarded(connection, connection.process, now)
        self.counters.moves += connection.moves - moves
        if connection.established and not established:
            self._admission.half_open -= 1
            self.counters.handshakes_done += 1
        if connection.may_wait(now):
            at = self._guarded(connection, connection.deadline, now)
            if at is not None:
                self._agenda.arm(connection, at)
        else:
            self._touched[connection] = None

    def _stray(self, cid: bytes, source: Address, now: float) -> None:
        """Of a connection that we do not have, or not any more."""
        self.drops[DropReason.UNKNOWN_SESSION] += 1
        last_words = self._farewells.answer(cid, source, now)
        if last_words is not None and self._admission.may_reply():
            self._outbox.append((source, [last_words]))

    # -- newcomers --

    def _newcomer(self, datagram: bytes, source: Address, now: float) -> Connection | None:
        """The connection that a long header belongs to: one that we have, or a new one, or none."""
        try:
            header = self._backend.parse_untrusted(datagram)
            connection = self._by_cid.get(header.destination)
            if connection is not None:
                return connection
            return self._invite(header, len(datagram), source, now)
        except BadPacket as error:
            self.drops[error.reason] += 1
            return None

    def _invite(self, header: LongHeader, size: int, source: Address, now: float) -> Connection | None:
        """Accept, or answer without keeping anything (None), or BadPacket."""
        if header.version not in self._backend.versions:
            if not header.version or size < MIN_INITIAL:
                raise BadPacket(DropReason.MALFORMED)  # two servers must not ask each other for ever
            self._afford()
            self._reply(self._backend.version_negotiation(header), source)
            self.counters.versions_negotiated += 1
            return None
        if not header.initial:
            self._stray(header.destination, source, now)
            return None
        if size < MIN_INITIAL or len(header.destination) < MIN_INITIAL_CID:
            raise BadPacket(DropReason.MALFORMED)
        original, retry_cid = header.destination, None
        if header.token:
            retry_cid = header.destination
            try:
                original = self._tokens.redeem_untrusted(header.token, source, retry_cid, self._wall(now))
            except BadPacket:
                self._refuse(header, INVALID_TOKEN, source)
                raise
        match self._admission.judge(source[0], now, proven=bool(header.token)):
            case Verdict.ACCEPT:
                return self._accept(header.destination, original, retry_cid, now)
            case Verdict.RETRY:
                self._retry(header, source, now)
                return None
            case Verdict.REFUSE:
                self._refuse(header, CONNECTION_REFUSED, source)
                raise BadPacket(DropReason.HANDSHAKE_QUEUE_FULL)
            case Verdict.TOO_MANY:
                raise BadPacket(DropReason.HANDSHAKE_QUEUE_FULL)
            case Verdict.TOO_FAST:
                raise BadPacket(DropReason.HANDSHAKE_RATE)

    def _accept(self, cid: bytes, original: bytes, retry_cid: bytes | None, now: float) -> Connection:
        settings = self._settings
        connection = Connection(
            self._listener.accept(original, retry_cid),
            client=False,
            now=now,
            handshake_timeout=settings.handshake_timeout,
            keepalive=settings.keepalive,
            unused=settings.idle_timeout,
            events=self._events,
            touch=self._touch,
        )
        connection.add_cid(cid)  # the client uses it until it has heard of ours
        self._known[connection] = None
        self._index(connection)
        self._admission.half_open += 1
        self._admission.connections += 1
        return connection

    def _retry(self, header: LongHeader, source: Address, now: float) -> None:
        self._afford()
        cid = self._rng(CID_LENGTH)
        token = self._tokens.issue(source, header.destination, cid, self._wall(now))
        self._reply(self._backend.retry(header, cid, token), source)
        self.counters.retries_sent += 1

    def _refuse(self, header: LongHeader, code: int, source: Address) -> None:
        self._afford()
        self._reply(self._backend.refusal(header, code), source)
        self.counters.refusals_sent += 1

    def _afford(self) -> None:
        if not self._admission.may_reply():
            raise BadPacket(DropReason.HANDSHAKE_RATE)

    def _reply(self, datagram: bytes, source: Address) -> None:
        self._outbox.append((source, [datagram]))

    def _wall(self, now: float) -> float:
        return now + self._settings.wall_offset

    # -- the table --

    def _index(self, connection: Connection) -> None:
        if connection.issued:
            for cid in connection.issued:
                self._by_cid[cid] = connection
            connection.issued.clear()
        if connection.retired:
            for cid in connection.retired:
                self._by_cid.pop(cid, None)
            connection.retired.clear()

    def _forget(self, connection: Connection, last: tuple[bytes, Address] | None, now: float) -> None:
        if connection not in self._known:
            return
        self._count_end(connection)
        if last is not None and connection.established:
            self._farewells.add(connection.cids, *last, now)
        self._remove(connection)

    def _remove(self, connection: Connection) -> None:
        self._index(connection)
        for cid in connection.cids:
            self._by_cid.pop(cid, None)
        del self._known[connection]
        self._agenda.forget(connection)
        self._touched.pop(connection, None)
        self._admission.connections -= 1
        if not connection.established:
            self._admission.half_open -= 1
