"""The callee's half of a user agent: INVITE, re-INVITE, ACK and CANCEL in (RFC 3261 sections 13.3, 9.2, 14.2)."""

from __future__ import annotations

from edge.proto.types import Address, BadPacket
from scenarios.proto import sdp
from scenarios.proto.audio import MediaSource
from scenarios.proto.call import (
    Call,
    CallChanged,
    CallRefused,
    CallState,
    Control,
    IncomingCall,
    Role,
    Signalling,
)
from scenarios.proto.call_table import ANSWER, GIVE_UP, RESEND, RING, CallTable
from scenarios.proto.dialog import Dialog
from scenarios.proto.sdp import Description, Direction
from scenarios.proto.sip import Request, Response, printable
from scenarios.proto.transaction import T1, T2, TIMEOUT, Transaction

MAX_RINGING = 180.0
"""Seconds until an unanswered call is let go, should the CANCEL never come."""


class InviteServer:
    def __init__(self, table: CallTable, control: Control) -> None:
        self._table = table
        self._control = control

    # The initial INVITE

    def receive(
        self,
        request: Request,
        source: Address,
        media: MediaSource,
        now: float,
        *,
        answer_after: float | None,
        pinned: bool,
    ) -> Call | None:
        """Ring, or refuse; None if there is no call of it."""
        table = self._table
        transaction = table.layer.accept(request, now)
        if transaction is None:
            return None
        tag = table.layer.token()
        status, offer = self._judge(request)
        call = Call(
            id=request.call_id,
            role=Role.CALLEE,
            local=printable(str(request.to.uri)),
            remote=printable(str(request.from_.uri)),
            source=media,
            control=self._control,
            signalling=Signalling(source, pinned, invite=request, transaction=transaction, offer=offer),
            started_at=now,
        )
        if not status and (table.full or not table.media.reserve(call)):
            status = 486
        if status:
            reply = request.reply(status, tag=tag)
            if status == 420:
                reply.set("Unsupported", ", ".join(request.tokens("Require")))
            table.layer.respond(transaction, reply, now)
            table.events.append(CallRefused(call.remote, status, now))
            return None
        transaction.owner = call
        table.enter(call)
        table.open_dialog(call, Dialog.as_callee(request, tag))
        call.state, call.ringing_at = CallState.RINGING, now
        table.layer.respond(transaction, self._reply(call, request, 180), now)
        table.timers.set((call, RING), now + MAX_RINGING)
        if answer_after is not None:
            table.timers.set((call, ANSWER), now + answer_after)
        table.events.append(IncomingCall(call, now))
        return call

    def _judge(self, request: Request) -> tuple[int, Description | None]:
        """The status to refuse with (0 for none) and the offer, None if we are to make one."""
        merged = any(
            call.id == request.call_id
            and call.role is Role.CALLEE  # one who dials himself is no merged request
            and call.signalling.invite is not None
            and call.signalling.invite.from_.tag == request.from_.tag
            for call in self._table.live
        )
        if merged:
            return 482, None  # section 8.2.2.2: the same request over another path
        if request.tokens("Require"):
            return 420, None
        if not request.contacts or not request.from_.tag:
            return 400, None
        return self._judge_body(request)

    def _judge_body(self, request: Request) -> tuple[int, Description | None]:
        if not request.body:
            return 0, None
        if request.content_type != sdp.CONTENT_TYPE:
            return 415, None
        try:
            offer = sdp.description_untrusted(request.body)
        except BadPacket:
            return 400, None
        usable = offer.audio is not None and set(offer.audio.codecs) & set(self._table.codecs)
        return (0, offer) if usable else (488, None)

    def _reply(self, call: Call, request: Request, status: int) -> Response:
        dialog = call.signalling.dialog
        reply = request.reply(status, tag=dialog.local.tag if dialog else "")
        reply.record_routes = list(request.record_routes)
        self._table.describe(reply)
        return reply

    def answer(self, call: Call, now: float) -> None:
        """Send the 2xx. Media runs from here: the caller may hear us before its ACK arrives."""
        signalling = call.signalling
        if call.state is not CallState.RINGING or signalling.invite is None:
            return
        self._table.timers.cancel((call, ANSWER))
        self._table.timers.cancel((call, RING))
        call.state = CallState.ANSWERED
        self._accept(call, signalling.invite, signalling.offer, now)

    def refuse(self, call: Call, status: int, now: float, *, state: CallState, by: str) -> None:
        """Answer a ringing call with a failure."""
        signalling = call.signalling
        if signalling.transaction is not None and signalling.invite is not None:
            reply = self._reply(call, signalling.invite, status)
            reply.contacts = []
            self._table.layer.respond(signalling.transaction, reply, now)
        self._table.finish(call, state, now, by=by, status=status)

    def _accept(self, call: Call, request: Request, offer: Description | None, now: float) -> None:
        """Send a 2xx with our answer (or, if they made none, our offer), and again until its ACK."""
        signalling, table = call.signalling, self._table
        assert call.local_media is not None  # reserved when the call began
        if not signalling.session_id:
            signalling.session_id = table.rng.getrandbits(31) + 1
        direction = Direction.SENDONLY if call.on_hold else Direction.SENDRECV
        codecs = table.codecs_of(call)
        reply = self._reply(call, request, 200)
        if offer is None:
            ours = sdp.offer(
                call.local_media,
                codecs,
                session_id=signalling.session_id,
                version=signalling.sdp_version,
                direction=direction,
            )
            signalling.offer, signalling.offered_by_us = ours, True
        else:
            signalling.offered_by_us = False
            answered = sdp.answer(
                offer,
                call.local_media,
                codecs,
                session_id=signalling.session_id,
                version=signalling.sdp_version,
                direction=direction,
            )
            assert answered is not None  # the codecs were compared before
            ours, agreement = answered
            table.media.settle(call, agreement, now)
        signalling.sdp_version += 1
        reply.with_body(sdp.CONTENT_TYPE, ours.encode())
        signalling.unacknowledged = reply
        signalling.resend_interval = T1
        if signalling.transaction is not None:
            table.layer.respond(signalling.transaction, reply, now)
        table.timers.set((call, RESEND), now + T1)
        table.timers.set((call, GIVE_UP), now + TIMEOUT)

    def resend(self, call: Call, now: float) -> None:
        """RFC 3261 section 13.3.1.4: the 2xx is ours to repeat, the transaction does not."""
        signalling = call.signalling
        if signalling.unacknowledged is None or signalling.transaction is None:
            return
        self._table.layer.respond(signalling.transaction, signalling.unacknowledged, now)
        signalling.resend_interval = min(2 * signalling.resend_interval, T2)
        self._table.timers.set((call, RESEND), now + signalling.resend_interval)

    def acknowledged(self, call: Call, ack: Request, now: float) -> None:
        """The ACK of our 2xx."""
        signalling, table = call.signalling, self._table
        if signalling.unacknowledged is None or ack.cseq != signalling.unacknowledged.cseq:
            return
        signalling.unacknowledged = None
        signalling.transaction = None
        table.timers.cancel((call, RESEND))
        table.timers.cancel((call, GIVE_UP))
        first = call.state is CallState.ANSWERED
        if first:
            table.confirm(call, now)
        if signalling.offered_by_us and not self._take_answer(call, ack, now):
            table.end(call, now, by=str(call.role))
        elif not first:
            call.reinvites += 1
            table.events.append(CallChanged(call, now))
        if signalling.hangup_wanted:
            table.end(call, now, by=str(call.role))

    def _take_answer(self, call: Call, ack: Request, now: float) -> bool:
        offer = call.signalling.offer
        try:
            agreement = None if offer is None else sdp.accept(offer, sdp.description_untrusted(ack.body))
        except BadPacket:
            return False
        if agreement is None:
            return False
        self._table.media.settle(call, agreement, now)
        return True

    def cancelled(self, cancel: Request, invite: Transaction, now: float) -> None:
        """A CANCEL that matches `invite`: always 200; 487 to the INVITE if it was still open (section 9.2)."""
        table = self._table
        call = invite.owner if isinstance(invite.owner, Call) else None
        tag = call.signalling.dialog.local.tag if call and call.signalling.dialog else table.layer.token()
        own = table.layer.accept(cancel, now)
        if own is not None:
            table.layer.respond(own, cancel.reply(200, tag=tag), now)
        if call is not None and call.state is CallState.RINGING:
            self.refuse(call, 487, now, state=CallState.CANCELLED, by=str(Role.CALLER))

    # Inside the dialog

    def reinvited(self, call: Call, request: Request, now: float) -> None:
        """A re-INVITE: answered at once, or refused so that nothing changes (section 14.2)."""
        signalling, table = call.signalling, self._table
        transaction = table.layer.accept(request, now, owner=call)
        dialog = signalling.dialog
        if transaction is None or dialog is None:
            return
        settled = signalling.unacknowledged is None and call.state is CallState.CONFIRMED
        if not dialog.in_order(request) or not settled:
            self._refuse_reinvite(transaction, 500, now)
        elif signalling.transaction is not None:  # ours is under way: glare
            self._refuse_reinvite(transaction, 491, now)
        else:
            status, offer = (420, None) if request.tokens("Require") else self._judge_body(request)
            if status:
                self._refuse_reinvite(transaction, status, now)
                return
            dialog.refresh(request)
            signalling.transaction = transaction
            self._accept(call, request, offer, now)

    def _refuse_reinvite(self, transaction: Transaction, status: int, now: float) -> None:
        reply = transaction.request.reply(status)
        if status == 500:
            reply.set("Retry-After", str(self._table.rng.getrandbits(3)))
        self._table.layer.respond(transaction, reply, now)
