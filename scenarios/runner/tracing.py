"""What the runner tells a recorder: steps, faults, and what phones say about their calls."""

from __future__ import annotations

from scenarios.proto.call import CallChanged, CallConfirmed, CallOver, CallRefused, CallRinging, IncomingCall
from scenarios.proto.host import HostEvent
from scenarios.proto.registration import RegistrationChanged
from scenarios.report import FaultRecord, StepRecord
from scenarios.runner.stage import Stage
from scenarios.trace.event import Kind
from scenarios.trace.recorder import Recorder


class Tracing:
    """Listens for `recorder` on a stage; without one it does nothing."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def attach(self, stage: Stage) -> None:
        if self._recorder is not None:
            stage.on_event = self._said
            stage.on_fault = self._did

    def step_begins(self, step: StepRecord) -> None:
        if self._recorder is not None:
            self._recorder.step_begins(step.name)

    def step_ends(self, step: StepRecord) -> None:
        if self._recorder is not None:
            self._recorder.step_ends(step.name, step.state.value)

    def _did(self, fault: FaultRecord) -> None:
        assert self._recorder is not None
        self._recorder.note(Kind.FAULT, fault.target, f"{fault.kind}: {fault.text}", tunnel=fault.target)

    def _said(self, said: HostEvent) -> None:
        assert self._recorder is not None
        host, event = said.host, said.event
        match event:
            case RegistrationChanged():
                text = f"{event.user} {event.state}"
                self._recorder.note(Kind.REGISTRATION, host.name, text, vnet=host.vnet)
            case IncomingCall() | CallRinging() | CallConfirmed() | CallChanged() | CallOver():
                call = event.call
                text = f"{call.state} as {call.role}, with {call.remote}"
                if isinstance(event, CallOver) and call.ended_by:
                    text += f", ended by {call.ended_by}"
                if isinstance(event, CallOver) and call.status:
                    text += f", {call.status} {call.reason}"
                self._recorder.note(Kind.CALL, host.name, text, vnet=host.vnet)
            case CallRefused():
                self._recorder.note(
                    Kind.CALL, host.name, f"refused {event.caller}: {event.status}", vnet=host.vnet
                )
            case _:
                pass  # everything else can be seen in its packets
