"""A text as a QR code that a telephone reads off the terminal."""

from __future__ import annotations

import io

import segno


def qr_code(text: str) -> str:
    """Half blocks, two modules a line, with the quiet zone around it."""
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, compact=True)
    return drawn.getvalue()
