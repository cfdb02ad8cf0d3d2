"""The console script. Imports take a good part of a second, and Ctrl-C may come in it: that is no traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """`poplab`; what a signal does before there is anything to drain, the system does: the shell sees 130 or 143."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else a parent has it ignored
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from scenarios import cli

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
