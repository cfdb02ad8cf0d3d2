"""A PoP's folder: its key, its certificate, and an edge.yaml with comments."""

from __future__ import annotations

from pathlib import Path

from edge.config import (
    CONFIG_NAME,
    DEFAULT_POOL,
    NAME_RULE,
    TUNNELS_FOLDER,
    EdgeConfig,
    MasqueConfig,
    check,
    is_name,
    masque_beside,
)
from edge.document import HostPort, Prefix
from edge.enrol.certificate import called, new_files
from edge.enrol.files import write_all_new
from edge.enrol.text import base64_text
from edge.enrol.wireguard import private_key
from edge.errors import Refused

METRICS = "127.0.0.1", 9180
KEY_NAME = "pop.key"

TEMPLATE = """\
# The configuration of one poplab PoP. Check it with `poplab edge check --config {config}`.
version: 1
name: {name}

listen:
  wireguard: "{listen}"
  masque: {masque}       # CONNECT-IP, on UDP and on TCP; null turns it off
  metrics: "{metrics}"      # Prometheus; null turns it off

# endpoint: "pop.example.net:51820"   # what peers dial, where that is not the address above

# masque:                             # what MASQUE clients meet; all of it may be left out
#   http2: true                       # false leaves the TCP port closed
#   endpoint: "pop.example.net:443"   # what they dial, where that is not the address above
#   keylog_file: keys.log             # TLS secrets for tshark: who reads it, reads the tunnels; for a lab only

private_key_file: {key}         # beside this file, mode 0600
state: state.db                   # peers' last addresses and timestamps: survives a restart

vnets:                            # virtual networks: nothing ever crosses from one to another
  {vnet}:
    pool: {pool}          # addresses of clients; the first one is the PoP's own
    mtu: 1420
    default: block                # what no rule decides
    policy:                       # first match wins
      - {{id: everyone, action: allow}}

# Each tunnel has a file of its own in {tunnels}/, written by
#   poplab edge add-client NAME
#   poplab edge add-connector NAME --route 10.0.50.0/24
"""


def init(
    folder: Path,
    *,
    name: str = "",
    listen: str = "127.0.0.1:51820",
    masque: str | None = "",
    vnet: str = "lab",
) -> Path:
    """Make a PoP's folder (0700), keys (0600), certificate and edge.yaml; Refused if there is one already.

    `masque` is where it takes MASQUE tunnels: empty for the address of `listen` and a port that needs no privilege,
    None for nowhere.
    """
    name = name or folder.resolve().name
    for what, word in (("name", name), ("virtual network", vnet)):
        if not is_name(word):
            raise Refused(f"{word!r} is not a {what}\n    fix: use {NAME_RULE}")
    address = _address(listen)
    if masque == "":
        masque = masque_beside(address)
    masque_address = None if masque is None else _address(masque)
    config = folder / CONFIG_NAME
    text = TEMPLATE.format(
        name=name,
        listen=address,
        masque="null" if masque is None else f'"{masque_address}"',
        metrics=HostPort(METRICS),
        key=KEY_NAME,
        vnet=vnet,
        pool=Prefix.of(DEFAULT_POOL.address, 24),
        config=config,
        tunnels=TUNNELS_FOLDER,
    )
    key = private_key()
    files = {folder / KEY_NAME: base64_text(key) + "\n"}
    if masque_address is not None:
        _refuse_clashes(name, address, masque_address, key)
        files |= new_files(folder, name, called(name, masque_address[0]))
    files[config] = text  # last: while it is not there, neither is the PoP
    for path in (config, *files):
        if path.exists():
            raise Refused(f"{path} exists\n    fix: choose another folder; nothing is overwritten")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / TUNNELS_FOLDER).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        fix = "choose a folder that you may write to, or run as who may write there"
        raise Refused(f"{error.filename}: {error.strerror}\n    fix: {fix}") from error
    write_all_new(files)
    return config


def _refuse_clashes(name: str, listen: HostPort, masque: HostPort, key: bytes) -> None:
    listeners = EdgeConfig(
        name, listen.address, key, {}, metrics=METRICS, masque=MasqueConfig(masque.address, b"", b"")
    )
    for finding in check(listeners):
        raise Refused(f"{finding.message}\n    fix: {finding.fix}")


def _address(text: str) -> HostPort:
    try:
        address = HostPort.parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error
    if not address.is_address:
        raise Refused(
            f"{address[0]!r} is not an IP address\n    fix: listen on one such as 127.0.0.1 or 0.0.0.0"
        )
    return address
