"""One number for a whole run: equal digests mean equal events, in order, to the last bit of their times."""

from __future__ import annotations

from hashlib import blake2b

import msgpack

from scenarios.trace.event import Event


class Digest:
    """A sink. Every event counts, whatever a file leaves out."""

    def __init__(self) -> None:
        self.events = 0
        self._hash = blake2b(digest_size=16)
        self._pack = msgpack.Packer().pack

    def __call__(self, event: Event) -> None:
        self.events += 1
        self._hash.update(self._pack(event))

    def hex(self) -> str:
        return self._hash.hexdigest()
