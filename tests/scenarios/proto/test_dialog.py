from scenarios.proto.dialog import Dialog, DialogState, dialog_key
from scenarios.proto.sip import message_untrusted
from scenarios.proto.sip_uri import uri_untrusted


def invite(routes=("<sip:p2.example;lr>", "<sip:p1.example;lr>")):
    lines = [
        "INVITE sip:bob@192.0.2.2 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From: <sip:ann@x>;tag=a",
        "To: <sip:bob@x>",
        "Call-ID: c",
        "CSeq: 5 INVITE",
        "Contact: <sip:ann@192.0.2.1:5062>",
        *[f"Record-Route: {route}" for route in routes],
    ]
    return message_untrusted("\r\n".join([*lines, "", ""]).encode())


def ok(request, status=200):
    reply = request.reply(status, tag="b")
    reply.record_routes = request.record_routes
    reply.contacts = [
        message_untrusted(invite().encode().replace(b"ann@192.0.2.1:5062", b"bob@192.0.2.2:5070")).contacts[0]
    ]
    return reply


def both(**options):
    request = invite(**options)
    return Dialog.as_caller(request, ok(request)), Dialog.as_callee(request, "b")


def test_both_ends_hold_the_same_dialog():
    caller, callee = both()
    assert caller.key == ("c", "a", "b")
    assert callee.key == ("c", "b", "a")
    bye = caller.request("BYE")
    bye.vias = invite().vias
    assert dialog_key(bye, incoming=True) == callee.key
    assert dialog_key(bye, incoming=False) == caller.key
    assert (caller.state, callee.state) == (DialogState.CONFIRMED, DialogState.EARLY)


def test_route_set_is_reversed_for_the_caller():
    caller, callee = both()
    assert [str(route.uri) for route in caller.route_set] == ["sip:p1.example;lr", "sip:p2.example;lr"]
    assert [str(route.uri) for route in callee.route_set] == ["sip:p2.example;lr", "sip:p1.example;lr"]
    assert str(caller.next_hop) == "sip:p1.example;lr"
    assert (str(caller.request("BYE").uri), str(callee.request("BYE").uri)) == (
        "sip:bob@192.0.2.2:5070",
        "sip:ann@192.0.2.1:5062",
    )


def test_a_strict_router_gets_the_request_uri():
    caller, _ = both(routes=("<sip:p1.example>",))
    bye = caller.request("BYE")
    assert str(bye.uri) == "sip:p1.example"
    assert [str(route.uri) for route in bye.routes] == ["sip:bob@192.0.2.2:5070"]


def test_without_routes_the_contact_is_next():
    caller, callee = both(routes=())
    assert (str(caller.next_hop), str(callee.next_hop)) == (
        "sip:bob@192.0.2.2:5070",
        "sip:ann@192.0.2.1:5062",
    )


def test_numbers_grow_and_an_ack_has_that_of_its_invite():
    caller, callee = both()
    assert [caller.request("BYE").cseq, caller.request("INVITE").cseq] == [6, 7]
    assert caller.request("ACK", cseq=5).cseq == 5
    assert callee.request("BYE").cseq == 1
    assert not callee.in_order(invite())
    later = invite()
    later.cseq = 9
    assert callee.in_order(later)
    assert not callee.in_order(later)


def test_target_refresh():
    caller, _ = both()
    moved = ok(invite())
    moved.contacts = [invite().contacts[0]]
    caller.refresh(moved)
    assert caller.target == uri_untrusted("sip:ann@192.0.2.1:5062")
    moved.contacts = []
    caller.refresh(moved)
    assert caller.target == uri_untrusted("sip:ann@192.0.2.1:5062")
