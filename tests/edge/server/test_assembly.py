from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.config import EdgeConfig, MasqueConfig
from edge.errors import Refused
from edge.server.assembly import refuse_restart_only

MASQUE = MasqueConfig(("127.0.0.1", 4433), b"certificate", b"key")
POP = EdgeConfig("lab", ("127.0.0.1", 51820), bytes(32), {}, masque=MASQUE)


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (replace(MASQUE, listen=("127.0.0.1", 443)), "listen.masque"),
        (replace(MASQUE, http2=False), "masque.http2"),
        (replace(MASQUE, keylog=Path("keys.log")), "masque.keylog_file"),
        (None, "listen.masque"),
    ],
)
def test_a_listener_of_masque_cannot_come_go_or_move(new: MasqueConfig | None, word: str) -> None:
    for old, after in ((MASQUE, new), (new, MASQUE)):
        with pytest.raises(Refused, match=f"{word} changed"):
            refuse_restart_only(replace(POP, masque=old), replace(POP, masque=after))


def test_a_new_certificate_needs_no_restart() -> None:
    renewed = replace(MASQUE, certificate=b"another", private_key=b"other", idle_timeout=60.0, path="/vpn")
    refuse_restart_only(POP, replace(POP, masque=renewed))
