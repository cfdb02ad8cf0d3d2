"""Two runs with the same inputs: the same events, and datagrams of the same size at the same time.

Certificates with ECDSA keys are out: their signatures vary in length.
"""

from quic_pair import Pair, client_settings, server_settings

from edge.proto.masque.carrier import RequestReceived


def trace(seed=7):
    pair = Pair(
        server=server_settings("ed25519"), client=client_settings("ed25519"), loss=0.05, delay=0.02, seed=seed
    )
    others = [pair.add(client_settings("ed25519"), (f"198.51.100.{n}", n)) for n in range(20, 24)]
    seen = []
    pair.on_event = lambda side, event: seen.append((round(pair.now, 9), side.address, type(event).__name__))
    tunnels = [pair.tunnel(side) for side in (pair.client, *others)]
    for step in range(60):
        for number, (carrier, far, stream) in enumerate(tunnels):
            carrier.send_datagrams(stream, [bytes([0, number]) + bytes(100 + 17 * step)] * (step % 7))
            if step % 10 == 0:
                carrier.send_data(stream, bytes(3000))
                far.send_data(stream, bytes(5000))
        pair.run(0.005)
    pair.client.address = ("198.51.100.99", 9)
    pair.client.endpoint.rebind(pair.now)
    pair.run(1)
    pair.server.endpoint.close_all(0x100, pair.now)
    pair.run(5)
    assert len(pair.server.seen(RequestReceived)) == 5
    return seen, [side.sent for side in pair.sides], [side.payloads() for side in pair.sides]


def test_the_same_inputs_have_the_same_outcome():
    first, second = trace(), trace()
    for one, other in zip(first, second, strict=True):
        assert one == other


def test_other_inputs_have_another():
    assert trace(7) != trace(8)
