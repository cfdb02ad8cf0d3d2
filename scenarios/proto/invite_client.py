"""The caller's half of a user agent: INVITE, re-INVITE and CANCEL (RFC 3261 sections 13.2, 14.1 and 9.1)."""

from __future__ import annotations

from dataclasses import replace

from edge.proto.types import Address, BadPacket
from scenarios.proto import sdp
from scenarios.proto.audio import MediaSource
from scenarios.proto.call import Call, CallChanged, CallRinging, CallState, Control, Role, Signalling
from scenarios.proto.call_table import MAX_ATTEMPTS, RETRY, RING, CallTable
from scenarios.proto.dialog import MAX_FORWARDS, Dialog
from scenarios.proto.sdp import Agreement, Direction
from scenarios.proto.sip import Request, Response, printable
from scenarios.proto.sip_uri import NameAddr, Uri
from scenarios.proto.transaction import State, Transaction


class InviteClient:
    def __init__(self, table: CallTable, control: Control) -> None:
        self._table = table
        self._control = control

    def start(
        self,
        target: Uri,
        caller: NameAddr,
        peer: Address | None,
        source: MediaSource,
        now: float,
        *,
        hold: float | None,
        ring_timeout: float,
        pinned: bool,
    ) -> Call:
        """Dial; a call that cannot even be started is returned as failed."""
        table = self._table
        call = Call(
            id=f"{table.layer.token()}@{table.layer.address[0]}",
            role=Role.CALLER,
            local=str(caller.uri),
            remote=str(target),
            source=source,
            control=self._control,
            signalling=Signalling(peer or (target.host, 0), pinned, hangup_after=hold),
            started_at=now,
        )
        room = not table.full and table.media.reserve(call)
        table.enter(call)
        if peer is None or not room:
            call.reason = "no free line" if not room else "not registered"
            table.finish(call, CallState.FAILED, now, by=str(call.role), status=486 if not room else 480)
            return call
        invite = Request(
            uri=target,
            vias=[],
            from_=caller.with_param("tag", table.layer.token()),
            to=NameAddr(replace(target, params=(), headers="")),
            call_id=call.id,
            cseq=1,
            method="INVITE",
            max_forwards=MAX_FORWARDS,
        )
        self._offer(call, invite, Direction.SENDRECV)
        call.signalling.invite = invite
        call.signalling.transaction = table.send(call, invite, now)
        table.timers.set((call, RING), now + ring_timeout)
        return call

    def _offer(self, call: Call, request: Request, direction: Direction) -> None:
        assert call.local_media is not None  # reserved when the call began
        signalling, table = call.signalling, self._table
        if not signalling.session_id:
            signalling.session_id = table.rng.getrandbits(31) + 1
        agreed = signalling.agreement
        signalling.offer = sdp.offer(
            call.local_media,
            table.codecs if agreed is None else (agreed.codec,),
            session_id=signalling.session_id,
            version=signalling.sdp_version,
            direction=direction,
        )
        signalling.sdp_version += 1
        table.describe(request)
        request.with_body(sdp.CONTENT_TYPE, signalling.offer.encode())

    def give_up(self, call: Call, now: float, reason: str = "") -> None:
        """CANCEL: at once, or (section 9.1) as soon as a first provisional response has come."""
        signalling = call.signalling
        call.cancelling = True
        call.reason = call.reason or reason
        transaction = signalling.transaction
        if transaction is not None and transaction.state is State.PROCEEDING and not signalling.cancel_sent:
            signalling.cancel_sent = True
            self._table.layer.cancel(transaction, now, owner=call)

    # The initial INVITE

    def receive(self, call: Call, transaction: Transaction, response: Response, now: float) -> None:
        """A response to the INVITE that started the call."""
        if response.status < 200:
            self._progress(call, response, now)
        elif response.status < 300:
            self._success(call, transaction.request, response, now)
        elif not call.state.over:
            self._failure(call, transaction.request, response, now)

    def timed_out(self, call: Call, now: float) -> None:
        """Nobody answered the INVITE at all (timer B), or its CANCEL."""
        cancelled = call.signalling.cancel_sent
        state = CallState.CANCELLED if call.cancelling else CallState.FAILED
        self._table.finish(call, state, now, by=str(call.role) if cancelled else "timeout", status=408)

    def _progress(self, call: Call, response: Response, now: float) -> None:
        if call.cancelling:
            self.give_up(call, now)
        elif response.status > 100 and call.state is CallState.DIALING:
            call.state = CallState.RINGING
            call.ringing_at = now
            self._table.events.append(CallRinging(call, now))

    def _success(self, call: Call, request: Request, response: Response, now: float) -> None:
        table, dialog = self._table, call.signalling.dialog
        if dialog is not None and dialog.remote.tag == response.to.tag:
            self._repeat_ack(call, request)
            return
        if not response.to.tag:
            return  # no dialog can come of it
        new = Dialog.as_caller(request, response)
        table.send_ack(call, request, new)
        if dialog is not None or call.state.over:
            # Another fork, or an answer after we gave up: acknowledged, then ended (section 13.2.2.4).
            table.send(call, new.request("BYE"), now, new)
            return
        table.open_dialog(call, new)
        agreement = self._accept(call, response)
        if call.cancelling:  # the CANCEL came too late
            table.send(call, new.request("BYE"), now)
            table.finish(call, CallState.CANCELLED, now, by=str(call.role), status=487)
        elif agreement is None:
            call.reason = "unusable SDP answer"
            table.send(call, new.request("BYE"), now)
            table.finish(call, CallState.FAILED, now, by=str(call.role), status=488)
        else:
            call.signalling.transaction = None
            table.confirm(call, now)
            table.media.settle(call, agreement, now)

    def _repeat_ack(self, call: Call, request: Request) -> None:
        ack, dialog = call.signalling.acks.get(request.cseq), call.signalling.dialog
        if ack is not None and dialog is not None:
            self._table.layer.send(ack, self._table.hop(call, dialog))

    @staticmethod
    def _accept(call: Call, response: Response) -> Agreement | None:
        if call.signalling.offer is None:
            return None
        try:
            return sdp.accept(call.signalling.offer, sdp.description_untrusted(response.body))
        except BadPacket:
            return None

    def _failure(self, call: Call, request: Request, response: Response, now: float) -> None:
        table = self._table
        if not call.cancelling and self._may_retry(call, request, response):
            call.signalling.transaction = table.send(call, self._renumbered(call, request), now)
            return
        state = CallState.CANCELLED if call.cancelling else CallState.FAILED
        call.reason = call.reason or printable(response.reason)
        by = str(call.role if call.cancelling else call.role.other)
        table.finish(call, state, now, by=by, status=response.status)

    def _may_retry(self, call: Call, request: Request, response: Response) -> bool:
        credentials, signalling = self._table.credentials, call.signalling
        if response.status not in (401, 407) or credentials is None or signalling.attempts >= MAX_ATTEMPTS:
            return False
        signalling.attempts += 1
        return credentials.challenged(request, response)

    @staticmethod
    def _renumbered(call: Call, request: Request) -> Request:
        dialog = call.signalling.dialog
        if dialog is None:
            return request.again(request.cseq + 1)
        dialog.local_cseq += 1
        return request.again(dialog.local_cseq)

    # Inside the dialog

    def reinvite(self, call: Call, now: float, *, hold: bool | None) -> bool:
        """Offer the session anew. False while another INVITE is open in the dialog (section 14.1)."""
        signalling, table = call.signalling, self._table
        dialog = signalling.dialog
        busy = signalling.transaction is not None or signalling.unacknowledged is not None
        if call.state is not CallState.CONFIRMED or dialog is None or busy:
            return False
        holding = call.on_hold if hold is None else hold
        signalling.hold_wanted = holding
        signalling.attempts = 0
        request = dialog.request("INVITE")
        self._offer(call, request, Direction.SENDONLY if holding else Direction.SENDRECV)
        signalling.transaction = table.send(call, request, now)
        return True

    def receive_reinvite(self, call: Call, transaction: Transaction, response: Response, now: float) -> None:
        signalling, table = call.signalling, self._table
        dialog, request = signalling.dialog, transaction.request
        if response.status < 200 or dialog is None:
            return
        if response.status < 300 and request.cseq in signalling.acks:
            self._repeat_ack(call, request)
            return
        if response.status < 300:
            dialog.refresh(response)
            table.send_ack(call, request, dialog)
        if call.state.over:
            return
        if response.status >= 300 and self._may_retry(call, request, response):
            signalling.transaction = table.send(call, self._renumbered(call, request), now)
            return
        signalling.transaction = None
        if response.status == 491:
            # The owner of the Call-ID waits longer, so that the two do not collide again (section 14.1).
            wait = 2.1 + 1.9 * table.rng.random() if call.role is Role.CALLER else 2.0 * table.rng.random()
            table.timers.set((call, RETRY), now + wait)
        elif response.status in (408, 481):
            table.end(call, now, by="timeout")
        elif response.status >= 300:
            table.events.append(CallChanged(call, now, response.status))
        else:
            self._changed(call, response, now)

    def _changed(self, call: Call, response: Response, now: float) -> None:
        agreement = self._accept(call, response)
        if agreement is None:
            self._table.end(call, now, by=str(call.role))
            return
        call.on_hold = call.signalling.hold_wanted
        call.reinvites += 1
        self._table.media.settle(call, agreement, now)
        self._table.events.append(CallChanged(call, now))
