"""A unit for systemd that runs a connector or a client with the least that it needs."""

from __future__ import annotations

from pathlib import Path

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


def unit(*, role: str, name: str, file: Path, command: str, options: str, connector: bool) -> str:
    """The unit's text; `options` end with a space unless empty."""
    return _UNIT.format(
        role=role,
        name=name,
        file=str(file).replace("%", "%%"),  # else a specifier, systemd.unit(5)
        command=command,
        options=options,
        forwarding=_CONNECTOR if connector else _CLIENT,
    )
