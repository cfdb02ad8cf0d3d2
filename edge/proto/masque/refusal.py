"""Why a request was not accepted: what the client is told, and a reason for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edge.proto.masque.carrier import Headers

REALM: Final = "poplab"

_CHALLENGES: Final = (
    (b"www-authenticate", f'Basic realm="{REALM}", charset="UTF-8"'.encode()),  # RFC 7617
    (b"www-authenticate", f'Bearer realm="{REALM}"'.encode()),  # RFC 6750: never without a parameter
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` holds nothing of the request. A client that got no proper response sees status 0 and no headers."""

    status: int
    reason: str
    headers: Headers = field(default_factory=list)  # of the response, ``:status`` first


class BadRequest(Exception):
    """All that the judges of a request's parts raise. `why` holds nothing of the request."""

    def __init__(self, status: int, why: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = headers

    @property
    def refusal(self) -> Refusal:
        return refuse(self.status, self.why, *self.headers)


def refuse(status: int, reason: str, *headers: tuple[bytes, bytes]) -> Refusal:
    """A refusal with the headers that its status demands (RFC 9110 15.5.2 and 15.5.6) and `headers`."""
    demanded = {401: _CHALLENGES, 405: ((b"allow", b"CONNECT"),)}.get(status, ())
    return Refusal(status, reason, [(b":status", b"%d" % status), *demanded, *headers])
