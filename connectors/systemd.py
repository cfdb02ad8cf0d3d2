"""A unit for systemd that runs a connector or a client with the least that it needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edge.errors import Refused

_UNIT = """\
# /etc/systemd/system/poplab-{name}.service
#   systemctl daemon-reload && systemctl enable --now poplab-{name}
# The file with the secret stays root's own: systemd reads it and hands a copy to the service, which has a user of its
# own for as long as it runs. Of root's rights it has CAP_NET_ADMIN alone: to make an interface and to route.
[Unit]
Description=poplab {role} {name}
Documentation=man:systemd.exec(5)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
LoadCredential=profile:{file}
ExecStart={command} {role} {options}%d/profile
Restart=on-failure
RestartSec=5s
RestartPreventExitStatus=2

DynamicUser=yes
AmbientCapabilities=CAP_NET_ADMIN
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
# /proc/sys is read-only here: {forwarding}
ProtectKernelTunables=yes
ProtectProc=invisible
PrivateTmp=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077

[Install]
WantedBy=multi-user.target
"""

_CONNECTOR = "forwarding is switched on by a file in /etc/sysctl.d, see docs/connector.md"
_CLIENT = "a client changes nothing there"


def unit(
    *, role: str, name: str, file: Path, command: Sequence[str], options: Sequence[str], connector: bool
) -> str:
    """The unit's text; `command` and `options` are words. Refused if `file` cannot be written in a unit."""
    if not str(file).isprintable():
        raise Refused(f"{str(file)!r} cannot stand in a unit\n    fix: a file name of letters and digits")
    return _UNIT.format(
        role=role,
        name=re.sub(r"[^A-Za-z0-9_.-]", "-", name),
        file=str(file).replace("%", "%%"),  # else a specifier, systemd.unit(5)
        command=" ".join(map(_word, command)),
        options="".join(f"{_word(option)} " for option in options),
        forwarding=_CONNECTOR if connector else _CLIENT,
    )


def _word(text: str) -> str:
    """One word of a command line, systemd.service(5): no specifier, no variable, no second word."""
    text = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return text if re.fullmatch(r"[A-Za-z0-9_./:=,%$+-]+", text) else f'"{text}"'
