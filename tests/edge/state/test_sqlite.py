"""The file: damage, versions, other processes, kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import Refused
from edge.state import PeerState, SqliteStore, Word, holder, told

PEERS = {
    bytes([n] * 32): PeerState(bytes([n] * 32), (f"192.0.2.{n}", 50_000 + n), bytes(11) + bytes([n]))
    for n in range(1, 30)
}
CLOCK = bytes(range(12))
NOBODY = 65534
ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    store.save(PEERS.values(), CLOCK)
    store.close()
    return path


def opened(path: Path) -> tuple[dict[bytes, PeerState], bytes]:
    store = SqliteStore(path)
    try:
        return store.load(), store.clock
    finally:
        store.close()


def test_nothing_is_left_beside_the_file_and_all_of_it_is_private(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == ["state.db", "state.db.lock"]
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}


def cuts(size: int) -> Iterator[int]:
    """Many in the header of the file, its very end, and a sample of the rest."""
    yield from range(0, 120, 3)
    yield from range(120, size - 40, 331)
    yield from range(size - 10, size)


def test_a_truncated_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in cuts(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused, match="damaged") as caught:
            SqliteStore(path)
        assert "fix:" in str(caught.value)
    path.write_bytes(whole)
    assert opened(path) == (PEERS, CLOCK)


def test_a_flipped_bit_is_refused_or_harmless(path: Path) -> None:
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 67):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            assert opened(path) == (PEERS, CLOCK), f"byte {position}"
        except Refused:
            refused += 1
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert refused > 20


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE peer SET timestamp = x'000000000000000000000000' WHERE public_key = x'" + "01" * 32 + "'",
        "UPDATE peer SET port = port + 1",
        "DELETE FROM peer WHERE public_key = x'" + "05" * 32 + "'",
        "UPDATE header SET clock = x'000000000000000000000000'",
        "UPDATE header SET clock = CAST(clock AS TEXT)",
        "UPDATE header SET peers = 3",
        "DELETE FROM header",
        "DROP TABLE peer",
    ],
)
def test_a_change_that_sqlite_cannot_see_is_refused(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(Refused, match="damaged"):
        SqliteStore(path)


def test_a_newer_version_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(Refused, match="format 2") as caught:
        SqliteStore(path)
    assert "fix:" in str(caught.value)


def test_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(Refused, match="not a poplab state"):
        SqliteStore(other)
    assert other.read_bytes() == before
    text = tmp_path / "notes.txt"
    text.write_text("not a database, " * 100)
    with pytest.raises(Refused):
        SqliteStore(text)
    assert text.read_text() == "not a database, " * 100


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="fix: create"):
        SqliteStore(tmp_path / "none" / "state.db")


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A state of this user in a folder that everybody may enter, and no way around permissions."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state.db"
        SqliteStore(path).close()
        path.parent.chmod(0o755)
        try:
            if root:
                os.chown(path.parent, NOBODY, NOBODY)
                for file in path.parent.iterdir():
                    os.chown(file, NOBODY, NOBODY)
                os.seteuid(NOBODY)
            yield path
        finally:
            if root:
                os.seteuid(0)
            path.parent.chmod(0o755)


@pytest.mark.parametrize("which", ["", "state.db.lock", "state.db"])
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500])
def test_a_state_without_permission_is_not_called_damaged(nobodys: Path, which: str, mode: int) -> None:
    (nobodys.parent / which).chmod(mode)
    with pytest.raises(Refused) as caught:
        SqliteStore(nobodys)
    assert f"not writable for this user (uid {os.geteuid()})" in str(caught.value)
    assert "damaged" not in str(caught.value) and "fix: run as the user that owns it" in str(caught.value)


def test_a_word_is_for_who_asks_while_its_process_holds_the_state(path: Path) -> None:
    assert told(path) is None
    store = SqliteStore(path)
    try:
        assert (holder(path), told(path)) == (os.getpid(), None)
        for word in (Word(1, False, "line\nline " * 99), Word(2, True, "short")):
            store.tell(word)
            assert (holder(path), told(path)) == (os.getpid(), word)
    finally:
        store.close()
    assert (holder(path), told(path)) == (None, None)
    store = SqliteStore(path)
    assert told(path) is None, "a word of the process before is none of this one"
    store.close()


def test_a_refused_store_lets_go_of_the_lock(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(Refused, match="empty"):
        SqliteStore(path)
    path.write_bytes(whole)
    assert opened(path)[0] == PEERS


def test_a_log_left_by_a_database_that_was_moved_away_is_not_read(path: Path) -> None:
    store = SqliteStore(path)
    store.save([PeerState(bytes([99] * 32))])
    wal = path.with_name("state.db-wal")
    left = wal.read_bytes()
    store.close()
    path.unlink()
    wal.write_bytes(left)
    assert opened(path)[0] == {}


CHILD = """
import sys
from pathlib import Path
from edge.state import PeerState, SqliteStore
store = SqliteStore(Path(sys.argv[1]))
n = 0
while True:
    n += 1
    store.save([PeerState(bytes([7] * 32), ("192.0.2.7", 1), n.to_bytes(12))], n.to_bytes(12))
    print(n, flush=True)
"""


def test_another_process_is_refused_and_kill_9_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        for _ in range(20):
            child.stdout.readline()
        with pytest.raises(Refused, match=f"process {child.pid}"):
            SqliteStore(path)
        assert holder(path) == child.pid
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().split()
    assert holder(path) is None
    peers, clock = opened(path)
    assert int.from_bytes(clock) >= int(lines[-1] if lines else 20)
    assert peers == {bytes([7] * 32): PeerState(bytes([7] * 32), ("192.0.2.7", 1), clock)}


def test_a_full_disk_is_said_and_the_old_state_stays(path: Path) -> None:
    store = SqliteStore(path)
    program = (  # a child, since a file size limit is for the whole process
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from edge.state import PeerState, SqliteStore; from edge.errors import Refused\n"
        "store = SqliteStore(Path(sys.argv[1])); before = store.load()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "try:\n"
        "    for n in range(99): store.save([PeerState(bytes([200, n] * 16))])\n"
        "except Refused as error: print(error)\n"
        "else: sys.exit('nothing was refused')\n"
    )
    store.close()
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert "cannot be written" in ran.stdout
    assert set(PEERS) <= set(opened(path)[0])


def with_room(path: Path, size: int) -> str:
    """What opening the state says in a process whose files may grow to `size` bytes."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from edge.state import SqliteStore; from edge.errors import Refused\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try: print(len(SqliteStore(Path(sys.argv[1])).load()))\n"
        "except Refused as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path), str(size)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_full_disk_at_the_start_is_no_damage(path: Path, tmp_path: Path) -> None:
    """C9: the remedy for damage, to move the state away, would give the guard against replays away."""
    assert with_room(path, 16) == f"{len(PEERS)}\n"  # what is kept can be read
    for whose in (path, tmp_path / "new.db"):
        said = with_room(whose, 0)
        assert "cannot be kept" in said
        assert "damaged" not in said
    assert "cannot be kept" in with_room(tmp_path / "new.db", 16)
    assert not (tmp_path / "new.db").exists()
    assert set(opened(path)[0]) == set(PEERS)


def test_no_descriptor_is_left_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        opened(path)
    assert len(os.listdir("/proc/self/fd")) == before
