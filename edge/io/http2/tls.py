"""TLS 1.3 over memory buffers (pyOpenSSL). The standard library's ssl cannot accept a client's self-signed certificate.

Chains and names of clients are not checked: a client is its public key, of which it proves possession in the handshake
(CertificateVerify). Whether somebody knows that key is decided above.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from edge.io.http2.settings import ClientSettings, ServerSettings

ALPN = b"h2"
RECORD = 16384  # plaintext of one record at most (RFC 8446 5.1)
READ = 65536


class TlsFailed(Exception):
    """The handshake failed, or a record is damaged. The message is for people; it holds nothing secret."""


def server_context(settings: ServerSettings) -> SSL.Context:
    """One for all connections of a server. ValueError if certificate and key are not PEM of a pair."""
    context = _context(SSL.TLS_SERVER_METHOD, settings.certificate, settings.private_key)
    # A resumed handshake asks for no certificate. OpenSSL still sends two tickets, which here open nothing.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_alpn_select_callback(_select)
    _log_keys(context, settings)
    return context


def client_context(settings: ClientSettings) -> SSL.Context:
    """ValueError if something is not PEM, or certificate and key are no pair."""
    context = _context(SSL.TLS_CLIENT_METHOD, settings.certificate, settings.private_key)
    context.set_alpn_protos([ALPN])
    if settings.ca is None:
        context.set_verify(SSL.VERIFY_NONE)  # the key is compared when the handshake is complete
    else:
        store = context.get_cert_store()
        assert store is not None
        for certificate in load_pem_x509_certificates(settings.ca):
            store.add_cert(crypto.X509.from_cryptography(certificate))
        context.set_verify(SSL.VERIFY_PEER)
    _log_keys(context, settings)
    return context


def _context(method: int, certificate: bytes | None, private_key: bytes | None) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    if certificate is not None and private_key is not None:
        leaf, *others = load_pem_x509_certificates(certificate)
        context.use_certificate(leaf)
        for other in others:
            context.add_extra_chain_cert(other)
        try:
            context.use_privatekey(load_pem_private_key(private_key, None))  # type: ignore[arg-type]
            context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            raise ValueError("the private key does not belong to the certificate") from error
    return context


def _select(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN not in offered:
        raise TlsFailed(
            "the client does not offer h2"
        )  # OpenSSL then sends no_application_protocol (RFC 7301 3.2)
    return ALPN


def _log_keys(context: SSL.Context, settings: ServerSettings | ClientSettings) -> None:
    log = settings.key_log
    if log is not None:
        context.set_keylog_callback(lambda _, line: log(line))


class TlsChannel:
    """One end of a TLS connection: ciphertext in, plaintext out, and back."""

    def __init__(self, context: SSL.Context, client: ClientSettings | None = None) -> None:
        self._client = client
        self._tls = SSL.Connection(context, None)
        self.established = False
        self.ended = False  # the peer has said that nothing more will come
        self.server_name = ""
        self.peer_key: bytes | None = None
        if client is None:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
            if not _is_address(client.server_name):
                self._tls.set_tlsext_host_name(client.server_name.encode("idna"))
            self.receive(b"")

    def receive(self, data: bytes) -> bytes:
        """Plaintext, as far as there is some. TlsFailed; ``poll`` may then still have an alert for the peer."""
        tls = self._tls
        plain: list[bytes] = []
        try:
            if data:
                tls.bio_write(data)
            if not self.established:
                tls.do_handshake()
                self._complete()
            while True:
                plain.append(tls.recv(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            raise TlsFailed(_explain(error)) from error
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def send(self, plain: bytes) -> None:
        """Encrypt; only when ``established``."""
        try:
            self._tls.sendall(plain)
        except SSL.Error as error:
            raise TlsFailed(_explain(error)) from error

    def poll(self) -> bytes:
        """Ciphertext for the peer."""
        found: list[bytes] = []
        try:
            while True:
                found.append(self._tls.bio_read(READ))
                if len(found[-1]) < READ:
                    break
        except SSL.WantReadError:
            pass
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        """Say that nothing more will come (close_notify)."""
        try:
            if self.established:
                self._tls.shutdown()
        except SSL.Error:
            pass  # it was broken before

    def _complete(self) -> None:
        tls = self._tls
        if tls.get_alpn_proto_negotiated() != ALPN:
            raise TlsFailed("the peer does not speak h2")
        certificate = tls.get_peer_certificate()
        if certificate is not None:
            # By OpenSSL: unlike cryptography, it will go on to take certificates whose serial number is 0.
            self.peer_key = crypto.dump_publickey(crypto.FILETYPE_ASN1, certificate.get_pubkey())
        if self._client is None:
            self.server_name = (tls.get_servername() or b"").decode("ascii", "replace")
        else:
            self.server_name = self._client.server_name
            self._check_server(self._client)
        self.established = True

    def _check_server(self, settings: ClientSettings) -> None:
        wrong = _wrong_server(self._tls, settings, self.peer_key)
        if wrong:
            self.poll()  # a stranger gets neither our certificate nor the end of the handshake
            raise TlsFailed(wrong)


def _wrong_server(tls: SSL.Connection, settings: ClientSettings, key: bytes | None) -> str:
    """Why it is not the right one; empty if it is. OpenSSL has checked the chain, if there is a CA."""
    if settings.pinned_key is not None:
        return "" if key == settings.pinned_key else "the server has another key than the pinned one"
    name = settings.server_name
    try:
        (verify_ip_address if _is_address(name) else verify_hostname)(tls, name)
    except (VerificationError, CertificateError, ValueError):
        return f"the server's certificate is not for {name}"
    return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _explain(error: SSL.Error) -> str:
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return f"TLS: {queue[-1][2] if queue else 'connection broken'}"
