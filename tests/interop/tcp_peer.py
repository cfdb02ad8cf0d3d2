"""The words of ``tun_host`` for the sockets of the kernel in whose namespace it runs.

``python -m tests.interop.tcp_peer`` prints ``ready``, then obeys lines on standard input, one answer each.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import threading

from tests.interop.tun_host import pattern, told

PATIENCE = 60.0
ABORT = struct.pack("ii", 1, 0)


def why(error: OSError) -> str:
    words = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset"}
    return words.get(error.errno or 0, str(error))


class Peer:
    def __init__(self) -> None:
        self.listening: list[socket.socket] = []
        self.sockets: dict[str, socket.socket] = {}
        self.threads: dict[str, threading.Thread] = {}
        self.said: dict[str, str] = {}
        self.broken: set[str] = set()

    def listen(self, port: str) -> str:
        self.listening.append(
            socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
        )
        return "ok"

    def open(self, name: str, ip: str, port: str, local: str = "0") -> str:
        """Begin; `opened` says how it went."""
        made = self.sockets[name] = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", int(local)))
        made.settimeout(PATIENCE)
        self._behind(name, "opened", lambda: made.connect((ip, int(port))), "connected")
        return "ok"

    def accepted(self, name: str) -> str:
        self.listening[-1].settimeout(PATIENCE)
        self.sockets[name], _ = self.listening[-1].accept()
        self.sockets[name].settimeout(PATIENCE)
        return "ok"

    def opened(self, name: str) -> str:
        return self._wait(name, "opened")

    def send(self, name: str, size: str) -> str:
        data, made = memoryview(pattern(int(size))), self.sockets[name]

        def work() -> None:
            at = 0
            while at < len(data) and name not in self.broken:
                _, ready, _ = select.select([], [made], [], 0.05)
                at += made.send(data[at : at + 65536]) if ready else 0

        self._behind(name, "sent", work, "ok")
        return "ok"

    def sent(self, name: str) -> str:
        return self._wait(name, "sent")

    def stuck(self, name: str) -> str:
        return "yes" if self.threads[f"{name} sent"].is_alive() else "no"

    def rest(self, name: str) -> str:
        data = bytearray()
        try:
            while part := self.sockets[name].recv(65536):
                data += part
        except OSError as error:
            return why(error)
        return told(data)

    def read(self, name: str, size: str) -> str:
        data = bytearray()
        try:
            while len(data) < int(size) and (part := self.sockets[name].recv(int(size) - len(data))):
                data += part
        except OSError as error:
            return why(error)
        return told(data)

    def close(self, name: str) -> str:
        """After what is being sent."""

        def work() -> None:
            if f"{name} sent" in self.threads:
                self._wait(name, "sent")
            self.sockets[name].shutdown(socket.SHUT_WR)

        self._behind(name, "closed", work, "ok")
        return "ok"

    def abort(self, name: str) -> str:
        self.broken.add(name)
        if f"{name} sent" in self.threads:
            self._wait(name, "sent")
        made = self.sockets[name]
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        made.close()
        return "ok"

    def ended(self, name: str) -> str:
        while True:
            try:
                if not self.sockets[name].recv(65536):
                    return "orderly"
            except OSError as error:
                return why(error)

    def mss(self, name: str) -> str:
        return str(self.sockets[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))

    def state(self, name: str) -> str:
        """tcpi_state as RFC 9293 calls it."""
        state = self.sockets[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]
        return {1: "established", 4: "fin_wait_1", 5: "fin_wait_2", 8: "close_wait"}.get(state, str(state))

    def keepalive(self, name: str) -> str:
        """Ask every second, and give up after two questions without an answer."""
        made = self.sockets[name]
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        return "ok"

    def count(self, name: str) -> str:
        """A counter of TcpExt, or 0: not every kernel has all of them, and each namespace has its own."""
        with open("/proc/net/netstat") as file:
            names, values = (line.split()[1:] for line in file if line.startswith("TcpExt:"))
        return dict(zip(names, values, strict=True)).get(name, "0")

    def _behind(self, name: str, what: str, act, good: str) -> None:
        def work() -> None:
            try:
                act()
                self.said[f"{name} {what}"] = good
            except OSError as error:
                self.said[f"{name} {what}"] = why(error)

        thread = self.threads[f"{name} {what}"] = threading.Thread(target=work, daemon=True)
        thread.start()

    def _wait(self, name: str, what: str) -> str:
        self.threads[f"{name} {what}"].join(PATIENCE)
        return self.said.get(f"{name} {what}", "timeout")


def main() -> None:
    peer = Peer()
    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        print(getattr(peer, word)(*rest), flush=True)


if __name__ == "__main__":
    main()
