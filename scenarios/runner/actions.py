"""Which action does which verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from scenarios.runner.calling import Calling
from scenarios.runner.probing import Probing
from scenarios.runner.registering import Registering
from scenarios.runner.stage import Action, Stage
from scenarios.runner.waiting import Waiting
from scenarios.schema.language import PbxDial, Ping, SipCall, SipRegister, UdpSend, Verb, Wait

ACTIONS: Mapping[type[Verb], type[Action]] = MappingProxyType(
    {
        Wait: Waiting,
        SipRegister: Registering,
        SipCall: Calling,
        PbxDial: Calling,
        UdpSend: Probing,
        Ping: Probing,
    }
)


def action(stage: Stage, verb: Verb, running: Callable[[str], bool]) -> Action:
    """The action for `verb`; `running` tells whether a background step still runs."""
    match verb:
        case Wait():
            return Waiting(stage, verb, running)
        case SipRegister():
            return Registering(stage, verb)
        case SipCall() | PbxDial():
            return Calling(stage, verb)
        case UdpSend() | Ping():
            return Probing(stage, verb)
