"""Key files, readable by their owner alone."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.document import key_bytes

KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{40,}=*")


class BadFile(Exception):
    """What is wrong with a file that a configuration names, and the fix; never what is in it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class BadKeyFile(BadFile):
    """The same of a file that holds a key."""


def looks_like_key(text: str) -> bool:
    """Whether `text` may hold a key, however mangled: cut short, broken into lines, or with something around it."""
    return KEY_TEXT.search("".join(text.split())) is not None


def read_key(path: Path, what: str = "WireGuard key", maker: str = "`wg genkey`") -> bytes:
    """The 32 bytes of the key in `path`. BadKeyFile if others may read or write it, or it holds no key."""
    text = read_private(path, maker=maker, limit=128)
    key = key_bytes(text.decode("ascii", "replace").strip())
    if key is None:
        raise BadKeyFile(f"key file {path}: not a {what}", f"one line of 44 base64 characters, as {maker}")
    return key


def read_private(path: Path, *, maker: str, limit: int) -> bytes:
    """The first `limit` bytes of the key file `path`; BadKeyFile if anybody but its owner may use it."""
    try:
        # Not blocking: a FIFO in the place of a key file must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise BadKeyFile(
            f"key file {path}: not readable for this user (uid {os.geteuid()})",
            f"run as the user that owns it, or `chown {os.geteuid()} {path}`; its folder must let you in, too",
        ) from error
    except OSError as error:
        raise BadKeyFile(
            f"key file {path}: {error.strerror}", f"{maker} writes one; check the path"
        ) from error
    except ValueError as error:  # a NUL, which YAML can write as "\0"
        raise BadKeyFile("not the name of a file", "name the file that holds the key") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadKeyFile(f"key file {path}: not a regular file", "name a file that holds the key")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise BadKeyFile(f"key file {path}: others may use it (mode {mode:04o})", f"chmod 600 {path}")
        if status.st_uid not in (os.geteuid(), 0):
            raise BadKeyFile(f"key file {path}: it belongs to another user", f"chown {os.geteuid()} {path}")
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def public_key(private_key: bytes) -> bytes:
    own = X25519PrivateKey.from_private_bytes(private_key)
    return own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
