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
from edge.errors import Refused

AUTHORITY_CERTIFICATE = "ca.crt"
AUTHORITY_KEY = "ca.key"
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Made:
    """The files of a new authority, and what is to be written into `listen`, unless it is there already."""

    files: tuple[Path, ...]
    listen: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of it."""

    file: Path
    certificate: x509.Certificate
    state: Path | None  # of the PoP; who holds it, is the process to tell

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
        return Made(tuple(files), "" if config.masque else masque_beside(config.listen))


def renew(config_path: Path, *, hosts: Sequence[str] = ()) -> Renewed:
    """A new certificate for the key that there is: for its hosts until now, those of the configuration, and `hosts`."""
    with alone(config_path):
        reading = Reading(config_path)  # its problems may be that the certificate has ended
        config, folder = reading.config, config_path.parent
        if reading.certificate_files is None:
            raise Refused(
                f"{config_path}: the PoP does not listen for MASQUE: it shows no certificate\n"
                "    fix: `poplab edge init-masque` says what it takes"
            )
        file, key_file = reading.certificate_files
        authority_file = folder / AUTHORITY_CERTIFICATE
        try:
            old = read_certificates(file)[1][0]
            _, key = read_private_key(key_file)
            if not authority_file.exists():
                raise _not_ours(file)
            _, authorities = read_certificates(authority_file)
            _, authority_key = read_private_key(folder / AUTHORITY_KEY)
            check_match(authorities, authority_key)
        except BadFile as error:
            raise Refused(f"{error.message}\n    fix: {error.fix}") from error
        if not is_issued_by(old, authorities[0]):
            raise _not_ours(file)
        now = datetime.now(UTC)
        if authorities[0].not_valid_after_utc <= now:
            raise Refused(
                f"{authority_file}: the authority itself ended on {authorities[0].not_valid_after_utc:%Y-%m-%d}\n"
                f"    fix: move {AUTHORITY_CERTIFICATE}, {AUTHORITY_KEY}, {file.name} and {key_file.name} away, "
                f"`poplab edge init-masque`, and give every client the new {AUTHORITY_CERTIFICATE}"
            )
        before, addresses = certificate_names(old)
        wanted = [*own_hosts(config), *before, *addresses, *hosts]
        new = _issued(authorities[0], authority_key, key, config.name, wanted, now)
        try:
            write_over(file, certificate_pem(new))
        except OSError as error:
            raise Refused(f"{error.filename2 or error.filename}: {error.strerror}") from error
        return Renewed(file, new, config.state)


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


def authority_of(folder: Path, certificate: x509.Certificate) -> str:
    """The PEM of the authority in `folder` that has issued `certificate`; empty if it was somebody else."""
    try:
        text, (authority, *_) = read_certificates(folder / AUTHORITY_CERTIFICATE)
    except BadFile:
        return ""
    return text.decode() if is_issued_by(certificate, authority) else ""


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # InvalidSignature, ValueError, TypeError: each says no
        return False
    return True


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
