"""The certificate that a PoP shows to MASQUE clients: made, and renewed, with an authority of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from edge.config import (
    MASQUE_CERTIFICATE,
    MASQUE_KEY,
    BadFile,
    CertificateKey,
    EdgeConfig,
    Reading,
    certificate_names,
    check_match,
    host_of,
    masque_beside,
    read_certificates,
    read_private_key,
)
from edge.document import address_bytes
from edge.enrol.authority import certificate_pem, is_dns_name, issue, key_pem, new_authority, new_key
from edge.enrol.files import alone, write_all_new, write_over
from edge.enrol.trust import AUTHORITY_CERTIFICATE, AUTHORITY_KEY, is_issued_by, is_ours, lost
from edge.errors import Refused

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Made:
    """The files of a new authority, and what is to be written into `listen`, unless it is there already."""

    files: tuple[Path, ...]
    listen: str
    off: bool = False  # there is a null to be replaced


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of it."""

    file: Path
    certificate: x509.Certificate
    state: Path | None  # of the PoP; who holds it, is the process to tell
    outdated: tuple[str, ...]  # tunnels whose files pin the key from before

    @property
    def hosts(self) -> tuple[str, ...]:
        names, addresses = certificate_names(self.certificate)
        return (*names, *addresses)


def new_files(
    folder: Path, name: str, hosts: Iterable[str], shown: tuple[Path, Path] | None = None
) -> dict[Path, str]:
    """What `folder` needs for MASQUE: an authority, and a certificate for `hosts`, each with its key.

    `shown` is where (certificate, key) belong, if not where they are looked for by default.
    """
    file, key_file = shown or (folder / MASQUE_CERTIFICATE, folder / MASQUE_KEY)
    now = datetime.now(UTC)
    authority_key, key = new_key(), new_key()
    authority = new_authority(name, authority_key, now)
    certificate = _issued(authority, authority_key, key, name, hosts, now)
    return {
        folder / AUTHORITY_KEY: key_pem(authority_key),
        folder / AUTHORITY_CERTIFICATE: certificate_pem(authority),
        key_file: key_pem(key),
        file: certificate_pem(certificate),
    }


def init_masque(config_path: Path, *, hosts: Sequence[str] = ()) -> Made:
    """Make authority and certificate of a PoP that has none; Refused if any of the files is there."""
    with alone(config_path):
        reading = Reading(config_path)
        config = reading.config
        wanted = [*own_hosts(config), *hosts]
        files = new_files(config_path.parent, config.name, wanted, reading.certificate_files)
        if there := [str(file) for file in files if file.exists()]:
            raise Refused(
                f"{', '.join(there)}: nothing is overwritten\n"
                "    fix: `poplab edge renew` for a new certificate; for a new authority, which every client has to "
                "be told, move the files away"
            )
        write_all_new(files)
        listen = "" if config.masque else masque_beside(config.listen)
        return Made(tuple(files), listen, reading.masque_off)


def renew(config_path: Path, *, hosts: Sequence[str] = (), new: bool = False) -> Renewed:
    """A new certificate for the key that there is: for its hosts until now, those of the configuration, and `hosts`.

    `new`: for a new key, so that whoever pins the one from before must be enrolled anew.
    """
    with alone(config_path):
        reading = Reading(config_path)  # its problems may be that the certificate has ended, or is gone
        config, folder = reading.config, config_path.parent
        if reading.certificate_files is None:
            raise Refused(
                f"{config_path}: the PoP does not listen for MASQUE: it shows no certificate\n"
                "    fix: `poplab edge init-masque` says what it takes"
            )
        file, key_file = reading.certificate_files
        pinned = tuple(tunnel.name for tunnel in config.tunnels.values() if tunnel.client_key)
        try:
            old = read_certificates(file)[1][0] if file.exists() else None
            authority, authority_key = _authority(folder, config.name, old, reading.certificate_files)
            key = new_key() if new else _kept(key_file, pinned)
        except BadFile as error:
            raise Refused(f"{error.message}\n    fix: {error.fix}") from error
        now = datetime.now(UTC)
        if authority.not_valid_after_utc <= now:
            raise Refused(
                f"{folder / AUTHORITY_CERTIFICATE}: the authority itself ended on "
                f"{authority.not_valid_after_utc:%Y-%m-%d}\n    fix: {_all_anew(file, key_file)}"
            )
        before, addresses = certificate_names(old) if old is not None else ([], [])
        wanted = [*own_hosts(config), *before, *addresses, *hosts]
        certificate = _issued(authority, authority_key, key, config.name, wanted, now)
        try:
            if new:
                write_over(key_file, key_pem(key))  # first: if that is all, the next renewal is for this key
            write_over(file, certificate_pem(certificate))
        except OSError as error:
            raise Refused(f"{error.filename2 or error.filename}: {error.strerror}") from error
        return Renewed(file, certificate, config.state, pinned if new else ())


def _kept(key_file: Path, pinned: Sequence[str]) -> CertificateKey:
    if key_file.exists():
        return read_private_key(key_file)[1]
    whom = f": {', '.join(pinned)}" if pinned else "; there is none"
    raise Refused(
        f"{key_file}: No such file: with another key, clients that pin this one must be enrolled anew{whom}\n"
        "    fix: put it back, or `poplab edge renew --new-key`"
    )


def _authority(
    folder: Path, name: str, old: x509.Certificate | None, shown: tuple[Path, Path]
) -> tuple[x509.Certificate, CertificateKey]:
    """The PoP's own, with its key; Refused if it is not there, or has not issued `old`, which `shown` names first."""
    file, shown_key = shown
    authority_file, key_file = folder / AUTHORITY_CERTIFICATE, folder / AUTHORITY_KEY
    if not authority_file.exists():
        if old is None and not key_file.exists():
            raise Refused(
                f"{authority_file}: No such file: there is no authority that could issue {file.name}\n"
                f"    fix: put back what is missing; or {_all_anew(file, shown_key)}"
            )
        if old is None or is_ours(folder, name, old):
            raise lost(authority_file, "No such file")
        raise _not_ours(file)
    _, authorities = read_certificates(authority_file)
    if not key_file.exists() and (old is None or is_issued_by(old, authorities[0])):
        raise Refused(
            f"{key_file}: No such file: only this key can issue a certificate that clients take\n"
            f"    fix: put it back from where it is kept; if it is lost, {_all_anew(file, shown_key)}"
        )
    if old is not None and not is_issued_by(old, authorities[0]):
        raise _not_ours(file)
    _, authority_key = read_private_key(key_file)
    check_match(authorities, authority_key)
    return authorities[0], authority_key


def _all_anew(*files: Path) -> str:
    """What is left to do if the authority is of no more use."""
    names = [AUTHORITY_CERTIFICATE, AUTHORITY_KEY, *(file.name for file in files)]
    return (
        f"move away what there is of {', '.join(names[:-1])} and {names[-1]}, `poplab edge init-masque`, "
        f"give every client the new {AUTHORITY_CERTIFICATE}, and enrol anew who pins the key"
    )


def own_hosts(config: EdgeConfig) -> tuple[str, ...]:
    """What clients of this PoP may call it."""
    if (masque := config.masque) is None:
        return called(config.name, config.listen[0], host_of(config.endpoint))
    return called(config.name, masque.listen[0], host_of(config.endpoint), host_of(masque.endpoint))


def called(name: str, *dialled: str) -> tuple[str, ...]:
    """The PoP's `name` first, which stays wherever it moves; what its clients have dialled; and itself at home."""
    found = [name] if is_dns_name(name) and address_bytes(name) is None else []
    for host in dialled:
        address = address_bytes(host)
        if any(address) if address is not None else host:
            found.append(host)
    return (*found, *LOCAL)


def _issued(
    authority: x509.Certificate,
    authority_key: object,
    key: object,
    name: str,
    hosts: Iterable[str],
    now: datetime,
) -> x509.Certificate:
    try:
        return issue(authority, authority_key, key, name, hosts, now)  # type: ignore[arg-type]
    except ValueError as error:
        raise Refused(str(error)) from error


def _not_ours(file: Path) -> Refused:
    return Refused(
        f"{file}: not issued by the authority of this PoP\n"
        "    fix: get a new one where it came from, put it in its place, and `poplab edge reload`"
    )
