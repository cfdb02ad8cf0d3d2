"""What can be timed without a hub: the AEAD that no forwarder can avoid, and the route lookup."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

if TYPE_CHECKING:
    from collections.abc import Iterator


def aead_floor(size: int, rounds: int = 20_000) -> float:
    """Microseconds for one decryption and one encryption of a packet of this size, through the Python API."""
    incoming, outgoing = (ChaCha20Poly1305(ChaCha20Poly1305.generate_key()) for _ in range(2))
    nonce, packet = bytes(12), os.urandom(size + -size % 16)
    sealed = incoming.encrypt(nonce, packet, None)
    decrypt, encrypt = incoming.decrypt, outgoing.encrypt
    start = time.thread_time()
    for _ in range(rounds):
        encrypt(nonce, decrypt(nonce, sealed, None), None)
    return (time.thread_time() - start) / rounds * 1e6


def route_lookup(routes: int = 100_000, lookups: int = 200_000) -> dict[str, float]:
    """Microseconds per insert and per lookup in a table like the Internet's: /16 to /28, most of them /24."""
    from edge.proto.forwarding.fib import Fib

    draw = random.Random(1)
    lengths = draw.choices([16, 18, 19, 20, 21, 22, 23, 24, 28], [2, 2, 4, 6, 6, 12, 10, 56, 2], k=routes)
    prefixes = [((draw.getrandbits(length) << (32 - length)).to_bytes(4), length) for length in lengths]
    table: Fib[int] = Fib()
    start = time.thread_time()
    for value, (prefix, length) in enumerate(prefixes):
        table.insert(prefix, length, value)
    inserted = time.thread_time() - start
    hits = [draw.choice(prefixes)[0] for _ in range(lookups)]
    misses = [draw.getrandbits(32).to_bytes(4) for _ in range(lookups)]
    times = {}
    for name, addresses in (("hit", hits), ("any", misses)):
        lookup = table.lookup
        start = time.thread_time()
        for address in addresses:
            lookup(address)
        times[name] = (time.thread_time() - start) / lookups * 1e6
    return {"insert_us": inserted / routes * 1e6, "routed_us": times["hit"], "random_us": times["any"]}


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
