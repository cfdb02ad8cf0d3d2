"""The client's end of CONNECT-IP (RFC 9484): one request on one carrier, and the packets of its session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from edge.proto.masque.address import (
    AssignedAddress,
    RequestIds,
    decode_address_assign,
    decode_address_request,
    encode_address_assign,
)
from edge.proto.masque.capsule import BadCapsule, CapsuleParser, CapsuleType
from edge.proto.masque.carrier import (
    Carrier,
    CarrierClosed,
    CarrierEvent,
    CarrierReady,
    DatagramsReceived,
    DataReceived,
    HttpVersion,
    PeerMoved,
    ResponseReceived,
    StreamAborted,
)
from edge.proto.masque.context import unwrap
from edge.proto.masque.credential import Credential
from edge.proto.masque.queue import DatagramQueue
from edge.proto.masque.request import Dialect, judge_response, request_headers, warp_request_headers
from edge.proto.masque.route import AddressRange, decode_route_advertisement
from edge.proto.masque.template import Template
from edge.proto.types import DropReason

EARLY_DATAGRAMS = 32
"""They may overtake the response (RFC 9297 2.1); so many are kept until it comes."""


MINIMUM_ROOM = 1 + 1280
"""Of a datagram, context id included: a path that does not carry this carries no IPv6 (RFC 9484 section 10.1)."""


class SessionState(StrEnum):
    """Of a client's session."""

    CONNECTING = "connecting"  # the carrier, or the answer to the request, is not there yet
    UP = "up"
    REFUSED = "refused"  # the PoP said no; asking again soon is of no use
    DOWN = "down"  # it was up, or never came up; try again


class ClientSession:
    """`authority` and `template` say where; `credential` who, unless a client certificate does.

    Feed it the carrier's events by ``handle``. `state` and `reason` say how it goes, `assigned` and `routes` what the
    PoP told.
    """

    def __init__(
        self,
        *,
        authority: str,
        template: Template,
        credential: Credential | None = None,
        dialect: Dialect = Dialect.STANDARD,
    ) -> None:
        self.state = SessionState.CONNECTING
        self.reason = ""
        self.status: int | None = None  # of the response
        self.assigned: list[AssignedAddress] = []
        self.routes: list[AddressRange] = []
        self.drops: Counter[DropReason] = Counter()
        self.queue: DatagramQueue | None = None
        self._authority = authority
        self._template = template
        self._credential = credential
        self._dialect = dialect
        self._carrier: Carrier | None = None
        self._stream = -1
        self._bare = False
        self._parser = CapsuleParser()
        self._request_ids = RequestIds()
        self._early: list[bytes] = []

    @property
    def dropped(self) -> int:
        """Datagrams and packets that died here, either direction."""
        return self.drops.total() + (0 if self.queue is None else self.queue.drops.total())

    def handle(self, events: Iterable[CarrierEvent]) -> list[bytearray]:
        """Take what the carrier tells; returns inner packets, in order."""
        packets: list[bytearray] = []
        for event in events:
            if isinstance(event, DatagramsReceived):
                if event.stream == self._stream:
                    self._datagrams(event.payloads, packets)
                else:
                    self.drops[DropReason.UNKNOWN_SESSION] += len(event.payloads)
            elif isinstance(event, CarrierReady):
                self._request(event.carrier)
            elif isinstance(event, CarrierClosed):
                self._over(
                    event.reason or ("closed by the PoP" if event.by_peer else "the PoP does not answer")
                )
            elif isinstance(event, PeerMoved) or event.stream != self._stream:
                continue
            elif isinstance(event, ResponseReceived):
                self._response(event, packets)
            elif isinstance(event, DataReceived):
                self._data(event, packets)
            elif isinstance(event, StreamAborted):
                self._over("reset by the PoP")
        return packets

    def seal(self, packets: list[bytearray]) -> None:
        """Send packets; they die counted unless the session is up."""
        if self.state is not SessionState.UP or self._carrier is None:
            self.drops[DropReason.TUNNEL_DOWN] += len(packets)
            return
        payloads = [bytes(p) for p in packets] if self._bare else [b"\0" + p for p in packets]
        self._carrier.send_datagrams(self._stream, payloads)

    def end(self) -> None:
        """Leave cleanly."""
        if self._carrier is not None and self._stream >= 0:
            self._carrier.end(self._stream)
        self._over("ended")

    def _request(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._bare = self._dialect is Dialect.WARP and carrier.version is HttpVersion.H2
        if self._dialect is Dialect.WARP:
            headers = warp_request_headers(self._authority, carrier.version)
        else:
            headers = request_headers(self._template, self._authority, credential=self._credential)
        self._stream = carrier.request(headers)
        self.queue = carrier.queue(self._stream)

    def _response(self, event: ResponseReceived, packets: list[bytearray]) -> None:
        refusal = judge_response(event.headers)
        if refusal is not None:
            self.status, self.reason = refusal.status, refusal.reason
            self.state = SessionState.REFUSED
            return
        self.status = 200
        carrier = event.carrier
        if not event.ended and carrier.datagram_room(self._stream) < MINIMUM_ROOM:
            carrier.reset(self._stream, 0x10C if carrier.version is HttpVersion.H3 else 0x8)
            self._over("the path is too narrow for IPv6")
            return
        self.state = SessionState.UP
        early, self._early = self._early, []
        self._datagrams(early, packets)
        if event.ended:
            self._over("ended by the PoP")

    def _data(self, event: DataReceived, packets: list[bytearray]) -> None:
        if self.state is not SessionState.UP:
            return  # the body of a refusal
        assert self._carrier is not None
        try:
            datagrams, others = self._parser.feed(event.data)
            for kind, value in others:
                self._capsule(kind, value)
            if event.ended:
                self._parser.finish()
        except BadCapsule as bad:
            self.drops[DropReason.MALFORMED] += 1
            self._carrier.reset(self._stream, 0x10E if self._carrier.version is HttpVersion.H3 else 0x1)
            self._over(f"malformed capsule: {bad}")
            return
        self._datagrams(datagrams, packets)
        if event.ended:
            self._over("ended by the PoP")

    def _capsule(self, kind: int, value: bytes) -> None:
        if kind == CapsuleType.ADDRESS_ASSIGN:
            self.assigned = decode_address_assign(value)
        elif kind == CapsuleType.ROUTE_ADVERTISEMENT:
            self.routes = decode_route_advertisement(value)
        elif kind == CapsuleType.ADDRESS_REQUEST:
            # Whatever it wants, there is nothing here that it could have (RFC 9484 4.7.2).
            requests = decode_address_request(value)
            self._request_ids.use(requests)
            assert self._carrier is not None
            refusals = encode_address_assign(map(AssignedAddress.refusal, requests))
            self._carrier.send_data(self._stream, refusals)

    def _datagrams(self, payloads: list[bytes], packets: list[bytearray]) -> None:
        if self.state is SessionState.CONNECTING:
            room = EARLY_DATAGRAMS - len(self._early)
            self._early += payloads[:room]
            self.drops[DropReason.UNKNOWN_SESSION] += len(payloads[room:])
            return
        if self.state is SessionState.UP:
            found, malformed = unwrap(payloads, bare=self._bare)
            packets += found
            if malformed:
                self.drops[DropReason.MALFORMED] += malformed

    def _over(self, reason: str) -> None:
        if self.state in (SessionState.CONNECTING, SessionState.UP):
            self.state, self.reason = SessionState.DOWN, reason
