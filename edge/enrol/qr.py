"""A text as a QR code that a telephone reads off the terminal, or off a picture."""

from __future__ import annotations

import io

import segno


def qr_code(text: str) -> str:
    """Half blocks, two modules a line, with the quiet zone around it."""
    drawn = io.StringIO()
    _code(text).terminal(out=drawn, compact=True)
    return drawn.getvalue()


def qr_picture(text: str) -> str:
    """An SVG file, black on white whatever is behind it."""
    drawn = io.BytesIO()
    _code(text).save(drawn, kind="svg", scale=8, dark="black", light="white")
    return drawn.getvalue().decode()


def _code(text: str) -> segno.QRCode:
    return segno.make(text, error="l", micro=False)
