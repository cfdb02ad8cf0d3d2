"""What the caller's and the callee's half of a user agent share: calls, dialogs, timers, how a call ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from edge.proto.types import Address
from scenarios.proto.call import Call, CallConfirmed, CallEvent, CallOver, CallState
from scenarios.proto.call_media import CallMedia
from scenarios.proto.dialog import Dialog, DialogState
from scenarios.proto.digest import Credentials, Rng
from scenarios.proto.sip import Message, Request
from scenarios.proto.sip_uri import NameAddr, Uri
from scenarios.proto.timer_queue import TimerQueue
from scenarios.proto.transaction import Transaction
from scenarios.proto.transaction_layer import TransactionLayer

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS"
MAX_ATTEMPTS = 3  # how often a request is sent again with new credentials
MAX_REMEMBERED = 1000  # calls that are over, for reports

ANSWER, RING, HANGUP, RESEND, GIVE_UP, RETRY = "answer", "ring", "hangup", "resend", "give up", "retry"
"""Timers of a call: pick up; stop ringing; end of the holding time; repeat a 2xx; no ACK; after a 491."""


@dataclass(slots=True)
class CallTable:
    """The state of one user agent. At most `max_calls` calls are live."""

    layer: TransactionLayer
    media: CallMedia
    contact: Uri
    rng: Rng
    codecs: tuple[str, ...]
    max_calls: int
    credentials: Credentials | None = None
    live: list[Call] = field(default_factory=list)
    over: deque[Call] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))
    dialogs: dict[tuple[str, str, str], Call] = field(default_factory=dict)
    timers: TimerQueue[tuple[Call, str]] = field(default_factory=TimerQueue)
    events: deque[CallEvent] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))

    @property
    def full(self) -> bool:
        return len(self.live) >= self.max_calls

    def codecs_of(self, call: Call) -> tuple[str, ...]:
        """A running session keeps its codec if the peer lets it."""
        agreed = call.signalling.agreement
        return (
            self.codecs if agreed is None else (agreed.codec, *(c for c in self.codecs if c != agreed.codec))
        )

    # Life of a call

    def enter(self, call: Call) -> None:
        self.live.append(call)

    def open_dialog(self, call: Call, dialog: Dialog) -> None:
        call.signalling.dialog = dialog
        self.dialogs[dialog.key] = call

    def confirm(self, call: Call, now: float) -> None:
        call.state = CallState.CONFIRMED
        call.confirmed_at = now
        if call.signalling.dialog is not None:
            call.signalling.dialog.state = DialogState.CONFIRMED
        self.timers.cancel((call, RING))
        if call.signalling.hangup_after is not None:
            self.timers.set((call, HANGUP), now + call.signalling.hangup_after)
        self.events.append(CallConfirmed(call, now))

    def finish(self, call: Call, state: CallState, now: float, *, by: str, status: int | None = None) -> None:
        """The call is over. Its transactions run on by themselves."""
        if call.state.over:
            return
        call.state, call.ended_at, call.ended_by, call.status = state, now, by, status
        self.media.stop(call, now)
        dialog = call.signalling.dialog
        if dialog is not None:
            dialog.state = DialogState.TERMINATED
            self.dialogs.pop(dialog.key, None)
        for name in (ANSWER, RING, HANGUP, RESEND, GIVE_UP, RETRY):
            self.timers.cancel((call, name))
        if call.signalling.transaction is not None:  # a re-INVITE that nobody may answer any more
            self.layer.limit(call.signalling.transaction, now)
        self.live.remove(call)
        self.over.append(call)
        self.events.append(CallOver(call, now))

    def end(self, call: Call, now: float, *, by: str, status: int | None = None) -> None:
        """Send BYE and let go."""
        dialog = call.signalling.dialog
        if dialog is not None and not call.state.over:
            self.send(call, dialog.request("BYE"), now)
        self.finish(call, CallState.ENDED, now, by=by, status=status)

    # Sending

    def hop(self, call: Call, dialog: Dialog | None = None) -> Address:
        """Where a request of this call goes: next hop of the dialog if it is an address, else the known peer."""
        dialog = dialog or call.signalling.dialog
        if dialog is None or call.signalling.pinned:
            return call.signalling.peer
        return dialog.next_hop.numeric_address or call.signalling.peer

    def send(self, call: Call, request: Request, now: float, dialog: Dialog | None = None) -> Transaction:
        """Send a request of a call in a transaction of its own, signed if we have been challenged before."""
        if self.credentials is not None:
            self.credentials.sign(request)
        return self.layer.request(request, self.hop(call, dialog), now, owner=call)

    def send_ack(self, call: Call, request: Request, dialog: Dialog) -> None:
        """Acknowledge the 2xx to our INVITE `request` (section 13.2.2.4), which carries its credentials."""
        acks = call.signalling.acks
        ack = dialog.request("ACK", cseq=request.cseq)
        ack.extra = [(name, value) for name, value in request.extra if name.endswith("Authorization")]
        ack.vias = [self.layer.via()]
        acks[request.cseq] = ack
        if len(acks) > 8:
            del acks[min(acks)]
        self.layer.send(ack, self.hop(call, dialog))

    def describe(self, message: Message) -> None:
        """What every INVITE and every 2xx to one carries."""
        message.contacts = [NameAddr(self.contact)]
        message.set("Allow", ALLOW)
