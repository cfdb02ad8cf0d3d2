"""XChaCha20-Poly1305 against the vectors of draft-irtf-cfrg-xchacha."""

import pytest
from cryptography.exceptions import InvalidTag

from edge.proto.wireguard import xchacha

KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
ASSOCIATED = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
PLAIN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you "
    b"only one tip for the future, sunscreen would be it."
)
SEALED = bytes.fromhex(
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
    "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52e"
    "c0875924c1c7987947deafd8780acf49"
)


def test_subkey():
    subkey = xchacha.hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert subkey.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


def test_sealed_vector():
    assert xchacha.encrypt(KEY, NONCE, PLAIN, ASSOCIATED) == SEALED
    assert xchacha.decrypt(KEY, NONCE, SEALED, ASSOCIATED) == PLAIN


@pytest.mark.parametrize("position", [0, 15, 16, 23])
def test_every_part_of_the_nonce_counts(position):
    nonce = bytearray(NONCE)
    nonce[position] ^= 1
    with pytest.raises(InvalidTag):
        xchacha.decrypt(KEY, bytes(nonce), SEALED, ASSOCIATED)
