"""Dialogs (RFC 3261 section 12): who talks to whom, over which proxies, in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from scenarios.proto.sip import Message, Request, Response
from scenarios.proto.sip_uri import NameAddr, Uri

MAX_FORWARDS = 70


class DialogState(StrEnum):
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


@dataclass(slots=True, eq=False)
class Dialog:
    """One side's view of a peer-to-peer relationship between two user agents."""

    call_id: str
    local: NameAddr  # with our tag
    remote: NameAddr  # with the peer's tag
    target: Uri  # where requests are for: the peer's Contact
    route_set: tuple[NameAddr, ...]
    local_cseq: int
    remote_cseq: int | None
    state: DialogState

    @property
    def key(self) -> tuple[str, str, str]:
        return self.call_id, self.local.tag, self.remote.tag

    @classmethod
    def as_caller(cls, request: Request, response: Response) -> Dialog:
        """From our request and a response with a To tag (section 12.1.2); routes are in reverse order."""
        return cls(
            call_id=request.call_id,
            local=request.from_,
            remote=response.to,
            target=response.contacts[0].uri if response.contacts else request.uri,
            route_set=tuple(reversed(response.record_routes)),
            local_cseq=request.cseq,
            remote_cseq=None,
            state=DialogState.EARLY if response.status < 200 else DialogState.CONFIRMED,
        )

    @classmethod
    def as_callee(cls, request: Request, tag: str) -> Dialog:
        """From a request that we are about to answer with `tag` (section 12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=request.to.with_param("tag", tag),
            remote=request.from_,
            target=request.contacts[0].uri if request.contacts else request.from_.uri,
            route_set=tuple(request.record_routes),
            local_cseq=0,
            remote_cseq=request.cseq,
            state=DialogState.EARLY,
        )

    def request(self, method: str, *, cseq: int | None = None) -> Request:
        """A request inside the dialog (section 12.2.1.1); an ACK gives the number of the INVITE that it is for."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self.target, list(self.route_set)
        if routes and not routes[0].uri.loose_router:
            # A strict router wants itself in the Request-URI and the target at the end of the route.
            uri, routes = routes[0].uri, [*routes[1:], NameAddr(self.target)]
        return Request(
            uri=replace(uri, headers=""),
            vias=[],
            from_=self.local,
            to=self.remote,
            call_id=self.call_id,
            cseq=cseq,
            method=method,
            routes=routes,
            max_forwards=MAX_FORWARDS,
        )

    @property
    def next_hop(self) -> Uri:
        """Whom to send the next request to (section 8.1.2)."""
        return self.route_set[0].uri if self.route_set else self.target

    def in_order(self, request: Request) -> bool:
        """Check and take the peer's CSeq (section 12.2.2); False for one that is not newer than the last."""
        if self.remote_cseq is not None and request.cseq <= self.remote_cseq:
            return False
        self.remote_cseq = request.cseq
        return True

    def refresh(self, message: Message) -> None:
        """Target refresh by a re-INVITE or the 2xx to one (sections 12.2.1.2 and 12.2.2)."""
        if message.contacts:
            self.target = message.contacts[0].uri


def dialog_key(message: Message, *, incoming: bool) -> tuple[str, str, str]:
    """The dialog that a message belongs to, from the receiver's (or with incoming=False the sender's) view."""
    local, remote = (message.to, message.from_) if incoming else (message.from_, message.to)
    return message.call_id, local.tag, remote.tag
