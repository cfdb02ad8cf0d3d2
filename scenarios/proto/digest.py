"""Digest authentication (RFC 7616, RFC 2617, RFC 8760): MD5 and SHA-256, qop=auth.

The server keeps no state for a stranger: a nonce carries its own expiry and a MAC of it, so that only a peer who has
proved the password once gets an entry (the highest nonce count used) in a bounded table.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.sip import Message, Request, Response

NONCE_LIFETIME = 300.0
MAX_NONCES = 4096

ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),  # what most phones can do
}

_FIELD = re.compile(
    r'[ \t]*+([A-Za-z0-9\-_.]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]++))[ \t]*+(,|$)'
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z0-9\-]++)[ \t]++(.*+)", re.DOTALL)
_COUNT = re.compile(r"[0-9A-Fa-f]{8}")
_NONCE = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{16})\.([0-9a-f]{32})")


class Rng(Protocol):
    """What is needed of a random.Random."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


def fields_untrusted(value: str) -> dict[str, str]:
    """The parameters of a Digest challenge or credentials; raises BadPacket for anything else."""
    scheme = _SCHEME.fullmatch(value)
    if scheme is None or scheme[1].lower() != "digest":
        raise BadPacket(DropReason.BAD_HEADER, "not Digest")
    text, position = scheme[2], 0
    found: dict[str, str] = {}
    while position < len(text):
        match = _FIELD.match(text, position)
        if match is None or match[1].lower() in found:
            raise BadPacket(DropReason.BAD_HEADER, "Digest parameters")
        parameter = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        if _CONTROL.search(parameter):  # a quoted-pair may hide one, but no answer could carry it
            raise BadPacket(DropReason.BAD_HEADER, "control character in a Digest parameter")
        found[match[1].lower()] = parameter
        position = match.end()
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def response(
    algorithm: str,
    identity: tuple[str, str, str],
    method: str,
    uri: str,
    nonce: str,
    qop: tuple[str, str] | None,
) -> str:
    """RFC 7616 section 3.4.1. `identity` is user, realm and password; `qop` nonce count and client nonce, None for
    a server that offers no qop (RFC 2069)."""
    digest = ALGORITHMS[algorithm]
    a1, a2 = digest(":".join(identity).encode()), digest(f"{method}:{uri}".encode())
    middle = f"{nonce}:{qop[0]}:{qop[1]}:auth" if qop else nonce
    return digest(f"{a1}:{middle}:{a2}".encode())


class Outcome(StrEnum):
    """What the server thinks of a request's credentials."""

    OK = "ok"
    ABSENT = "absent"  # none, of another scheme or for another realm: challenge
    STALE = "stale"  # right, but the nonce is old or its count used: challenge with stale=true
    WRONG = "wrong"


class Authenticator:
    """The server's half: issues challenges, judges credentials."""

    def __init__(
        self,
        realm: str,
        users: dict[str, str],
        rng: Rng,
        *,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        max_nonces: int = MAX_NONCES,
    ) -> None:
        self.realm = realm
        self._users = users
        self._rng = rng
        self._algorithms = algorithms
        self._max_nonces = max_nonces
        self._secret = rng.getrandbits(256).to_bytes(32, "big")
        self._counts: OrderedDict[str, int] = OrderedDict()  # nonce -> highest count used
        self._floor = 0.0  # nonces that expire before this were forgotten: treated as stale

    def challenge(self, reply: Response, now: float, *, stale: bool = False) -> None:
        """Add one challenge per algorithm, strongest first (RFC 8760 section 2.4), to a 401 or 407."""
        name = "WWW-Authenticate" if reply.status == 401 else "Proxy-Authenticate"
        nonce = self._nonce(now)
        for algorithm in self._algorithms:
            value = f'Digest realm={_quoted(self.realm)}, nonce="{nonce}", qop="auth", algorithm={algorithm}'
            reply.extra.append((name, value + (", stale=true" if stale else "")))

    def judge(self, request: Request, header: str, now: float) -> tuple[Outcome, str]:
        """Judge the credentials in `header` (Authorization or Proxy-Authorization); also the user's name."""
        for value in request.headers(header):
            try:
                given = fields_untrusted(value)
            except BadPacket:
                continue
            if given.get("realm") == self.realm:
                return self._judge(given, request.method, now), given.get("username", "")
        return Outcome.ABSENT, ""

    def _judge(self, given: dict[str, str], method: str, now: float) -> Outcome:
        algorithm = given.get("algorithm", "MD5").upper()
        count, cnonce = given.get("nc", ""), given.get("cnonce", "")
        # qop=auth is offered, so a count is required: without one a captured request could be replayed.
        if algorithm not in self._algorithms or not _COUNT.fullmatch(count):
            return Outcome.WRONG
        username, nonce, uri = (given.get(name, "") for name in ("username", "nonce", "uri"))
        password = self._users.get(username)
        # An unknown user costs the same work and gets the same answer as a wrong password.
        identity = (username, self.realm, password or "")
        expected = response(algorithm, identity, method, uri, nonce, (count, cnonce))
        right = hmac.compare_digest(expected.encode(), given.get("response", "").lower().encode())
        if not right or password is None:
            return Outcome.WRONG
        expiry = self._expiry(nonce)
        if expiry is None or expiry <= now or expiry < self._floor:
            return Outcome.STALE
        return Outcome.OK if self._count(nonce, int(count, 16)) else Outcome.STALE

    def _count(self, nonce: str, count: int) -> bool:
        if count <= self._counts.get(nonce, 0):
            return False
        self._counts[nonce] = count
        self._counts.move_to_end(nonce)
        if len(self._counts) > self._max_nonces:
            oldest, _ = self._counts.popitem(last=False)
            self._floor = max(self._floor, (self._expiry(oldest) or 0.0) + 0.001)
        return True

    def _nonce(self, now: float) -> str:
        text = f"{max(0, round((now + NONCE_LIFETIME) * 1000)):x}.{self._rng.getrandbits(64):016x}"
        return f"{text}.{self._mac(text)}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    def _expiry(self, nonce: str) -> float | None:
        """When a nonce of ours expires; None if we did not issue it."""
        match = _NONCE.fullmatch(nonce)
        if match is None or not hmac.compare_digest(self._mac(f"{match[1]}.{match[2]}"), match[3]):
            return None
        return int(match[1], 16) / 1000


@dataclass(slots=True)
class _Challenge:
    realm: str
    nonce: str
    algorithm: str
    opaque: str | None
    qop: bool
    count: int = 0


@dataclass(slots=True)
class Credentials:
    """The client's half: remembers the last challenge of each realm and signs requests with it."""

    username: str
    password: str = field(repr=False)
    rng: Rng = field(repr=False)
    _known: dict[tuple[str, str], _Challenge] = field(default_factory=dict, repr=False)

    def challenged(self, request: Message, reply: Response) -> bool:
        """Learn from a 401 or 407. True if signing `request` anew can help, False if the password was refused."""
        proxy = reply.status == 407
        answers = "Proxy-Authorization" if proxy else "Authorization"
        sent = [found for value in request.headers(answers) if (found := _fields(value))]
        for value in reply.headers("Proxy-Authenticate" if proxy else "WWW-Authenticate"):
            found = _fields(value)
            algorithm = found.get("algorithm", "MD5").upper()
            offered = [word.strip() for word in found.get("qop", "").split(",")]
            if algorithm not in ALGORITHMS or not found.get("nonce") or not ({"", "auth"} & set(offered)):
                continue
            realm = found.get("realm", "")
            if found.get("stale", "").lower() != "true" and any(old.get("realm") == realm for old in sent):
                return False
            if len(self._known) >= 16:
                self._known.clear()
            opaque = found.get("opaque")
            self._known[answers, realm] = _Challenge(
                realm, found["nonce"], algorithm, opaque, "auth" in offered
            )
            return True
        return False

    def sign(self, request: Request) -> None:
        """Put credentials for every realm that we know on `request`, replacing older ones."""
        uri = str(request.uri)
        for name in ("Authorization", "Proxy-Authorization"):
            request.remove(name)
        for (name, _), known in self._known.items():
            known.count += 1
            count, cnonce = f"{known.count:08x}", f"{self.rng.getrandbits(64):016x}"
            identity = (self.username, known.realm, self.password)
            qop = (count, cnonce) if known.qop else None
            answer = response(known.algorithm, identity, request.method, uri, known.nonce, qop)
            value = (
                f"Digest username={_quoted(self.username)}, realm={_quoted(known.realm)}, "
                f'nonce={_quoted(known.nonce)}, uri={_quoted(uri)}, response="{answer}", '
                f"algorithm={known.algorithm}"
            )
            if known.qop:
                value += f', qop=auth, nc={count}, cnonce="{cnonce}"'
            if known.opaque is not None:
                value += f", opaque={_quoted(known.opaque)}"
            request.extra.append((name, value))


def _fields(value: str) -> dict[str, str]:
    try:
        return fields_untrusted(value)
    except BadPacket:
        return {}
