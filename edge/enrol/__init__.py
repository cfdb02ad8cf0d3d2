"""Give a PoP its keys, and its peers theirs: the files of a PoP, and a file for the other end.

A peer's private key or token is made here, goes into the text for the peer, and is kept nowhere.
"""

from edge.enrol.certificate import Made, Renewed, init_masque, renew
from edge.enrol.folder import init
from edge.enrol.masque import Masque
from edge.enrol.peers import Deliver, Enrolled, add_client, add_connector
from edge.enrol.programs import Dialect, Program
from edge.enrol.qr import qr_code, qr_picture
from edge.enrol.trust import authority_of

__all__ = [
    "Deliver",
    "Dialect",
    "Enrolled",
    "Made",
    "Masque",
    "Program",
    "Renewed",
    "add_client",
    "add_connector",
    "authority_of",
    "init",
    "init_masque",
    "qr_code",
    "qr_picture",
    "renew",
]
