"""State in one SQLite file, its write-ahead log and a lock file beside it.

With ``synchronous=NORMAL`` a commit survives ``kill -9``; a power cut may lose the last ones but never half
of one. SQLite does not checksum its pages, so every row carries a digest and the header row the XOR of all of
them: a row that changed, vanished or appeared by itself is found at start, and the PoP refuses to run on it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from edge.errors import Refused
from edge.state.lock import DENIED, Lock, Word, not_writable, unusable
from edge.state.store import NO_CLOCK, PeerState, later_clock, merged

APPLICATION = 0x706F706C  # "popl": says whose file it is
VERSION = 1

# A commit writes two pages whole: small ones, since what changed is one row in each.
SCHEMA = f"""
    PRAGMA page_size = 1024;
    PRAGMA application_id = {APPLICATION};
    PRAGMA user_version = {VERSION};
    CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), clock BLOB NOT NULL, peers INTEGER NOT NULL,
                         digest INTEGER NOT NULL);
    CREATE TABLE peer (public_key BLOB PRIMARY KEY, host TEXT, port INTEGER, timestamp BLOB,
                       digest INTEGER NOT NULL) WITHOUT ROWID;
"""

UPSERT = "INSERT OR REPLACE INTO peer (public_key, host, port, timestamp, digest) VALUES (?, ?, ?, ?, ?)"
UNREACHABLE = {  # the disk's fault, or that of permissions: nothing is known to be wrong with what is kept
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
}

UPDATE_HEADER = "UPDATE header SET clock = ?, peers = ?, digest = ? WHERE id = 1"


class SqliteStore:
    """One file, one PoP: the constructor refuses a file that is in use, damaged or of a newer version."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock(path)
        self._connection: sqlite3.Connection | None = None
        try:
            if not path.exists():
                _create(path)
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        if not os.access(
            self._path, os.R_OK | os.W_OK, effective_ids=True
        ):  # SQLite would take it to read only
            raise not_writable(self._path, os.strerror(errno.EACCES))
        try:
            self._connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=16)
            # The lock file already keeps others out; this one spares SQLite the shared memory file, for which a
            # full disk has no room. Only said before the first look does it help there.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._check_format(self._connection)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._read(self._connection)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:  # damage changes types, too
            if isinstance(error, sqlite3.Error) and _primary_code(error) in UNREACHABLE:
                raise unusable(self._path, str(error)) from error
            raise _damaged(self._path, str(error)) from error

    def _check_format(self, connection: sqlite3.Connection) -> None:
        if self._path.stat().st_size == 0:
            raise _damaged(self._path, "it is empty")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise _damaged(self._path, "it is not a poplab state file")
        if version != VERSION:
            raise Refused(
                f"{self._path}: state of format {version}, this poplab knows {VERSION}\n"
                f"    fix: run the poplab that wrote it, or move {self._path} away"
            )
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise _damaged(self._path, str(verdict))

    def _read(self, connection: sqlite3.Connection) -> None:
        header = connection.execute("SELECT clock, peers, digest FROM header").fetchall()
        rows = connection.execute("SELECT public_key, host, port, timestamp, digest FROM peer").fetchall()
        if len(header) != 1:
            raise ValueError("its header is missing")
        clock, count, digest = header[0]
        self._clock: bytes = clock
        self._peers: dict[bytes, PeerState] = {}
        self._digests: dict[bytes, int] = {}
        total = _digest(clock)
        for public_key, host, port, timestamp, row_digest in rows:
            peer = PeerState(public_key, None if host is None else (host, port), timestamp)
            if _peer_digest(peer) != row_digest:
                raise ValueError("a peer's record does not match its checksum")
            self._peers[public_key] = peer
            self._digests[public_key] = row_digest
            total ^= row_digest
        if len(rows) != count or total != digest:
            raise ValueError("its records do not match the checksum of all")
        self._total = total

    def load(self) -> dict[bytes, PeerState]:
        return dict(self._peers)

    def save(self, peers: Iterable[PeerState], clock: bytes | None = None) -> None:
        changed = merged(self._peers, peers)
        digests = {key: _peer_digest(peer) for key, peer in changed.items()}
        later = later_clock(self._clock, clock)
        rows = [
            (key, *(peer.endpoint or (None, None)), peer.timestamp, digests[key])
            for key, peer in changed.items()
        ]
        total = self._total ^ _digest(self._clock) ^ _digest(later)
        for key, digest in digests.items():
            total ^= self._digests.get(key, 0) ^ digest
        count = len(self._peers) + sum(key not in self._peers for key in changed)
        self._commit(UPSERT, rows, (later, count, total))
        self._peers.update(changed)
        self._digests.update(digests)
        self._clock, self._total = later, total

    def forget(self, public_keys: Iterable[bytes]) -> None:
        gone = sorted(set(public_keys) & self._peers.keys())
        total = self._total
        for key in gone:
            total ^= self._digests[key]
        header = (self._clock, len(self._peers) - len(gone), total)
        self._commit("DELETE FROM peer WHERE public_key = ?", [(key,) for key in gone], header)
        for key in gone:
            del self._peers[key], self._digests[key]
        self._total = total

    def _commit(self, statement: str, rows: list[tuple[object, ...]], header: tuple[bytes, int, int]) -> None:
        connection = self._connection
        if connection is None:
            raise Refused(f"{self._path}: the state is closed")
        try:
            connection.execute("BEGIN")
            try:
                connection.executemany(statement, rows)
                connection.execute(UPDATE_HEADER, header)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise Refused(
                f"{self._path}: the state cannot be written: {error}\n"
                "    fix: free space on its disk, or move it"
            ) from error

    @property
    def clock(self) -> bytes:
        return self._clock

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.close()

    def tell(self, word: Word) -> None:
        """Leave `word` where ``edge.state.told`` finds it."""
        self._lock.tell(word)


def _digest(value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big", signed=True)


def _peer_digest(peer: PeerState) -> int:
    return _digest(repr((peer.public_key, peer.endpoint, peer.timestamp)).encode())


def _create(path: Path) -> None:
    """A whole empty database appears under `path` or nothing does, so that a short file is always damage."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        for stale in (
            fresh,
            *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")),
        ):
            stale.unlink(missing_ok=True)  # a log without its database belongs to one that was moved away
        os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.executescript(SCHEMA)
            connection.execute("INSERT INTO header VALUES (1, ?, 0, ?)", (NO_CLOCK, _digest(NO_CLOCK)))
        finally:
            connection.close()
        os.replace(fresh, path)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DENIED:
            raise not_writable(path, error.strerror or "") from error
        raise unusable(path, str(error)) from error


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _damaged(path: Path, why: str) -> Refused:
    return Refused(
        f"{path}: the state is damaged: {why}\n"
        "    fix: restore it from a copy, or move it and its -wal file away; peers then reconnect by\n"
        "    themselves, but a handshake that somebody recorded may be replayed once"
    )
