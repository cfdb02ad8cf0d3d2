"""Last words: to whom, how often, how long."""

from edge.io.quic.farewell import LIMIT, LINGER, Farewells

PEER, OTHER = ("198.51.100.1", 1), ("198.51.100.2", 1)


def test_they_are_said_less_and_less_often_to_the_peer_only():
    farewells = Farewells()
    farewells.add([b"a", b"b"], b"bye", PEER, 10.0)
    assert farewells.answer(b"b", OTHER, 11.0) is None
    said = [farewells.answer(b"a", PEER, 11.0) is not None for _ in range(16)]
    assert [n + 1 for n, yes in enumerate(said) if yes] == [1, 2, 4, 8, 16]
    assert farewells.answer(b"c", PEER, 11.0) is None


def test_they_fade():
    farewells = Farewells()
    farewells.add([b"a"], b"bye", PEER, 10.0)
    assert farewells.answer(b"a", PEER, 10.0 + LINGER) is None
    farewells.add([b"b"], b"bye", PEER, 10.0 + LINGER)
    assert len(farewells) == 1


def test_they_are_few():
    farewells = Farewells()
    for n in range(LIMIT + 100):
        farewells.add([n.to_bytes(8)], b"bye", PEER, 10.0)
    assert len(farewells) == LIMIT
    assert farewells.answer((0).to_bytes(8), PEER, 10.0) is None
