"""The reader of wg-quick files that the interop tests lean on; needs nothing of the machine."""

from tests.interop.wgquick import parse

FILE = """
[Interface]
PrivateKey = cHJpdmF0ZQ==
Address = 100.96.0.2/32, fd00:96::2/128   # both families
MTU = 1400
[Peer]
PublicKey = cHVibGlj
PresharedKey = c2hhcmVk
AllowedIPs = 100.96.0.0/12
AllowedIPs = fd00:96::/64
Endpoint = [2001:db8::1]:51820
"""


def test_wg_setconf_gets_what_it_understands():
    config = parse(FILE)
    assert (config.v4, config.v6, config.mtu) == ("100.96.0.2", "fd00:96::2", 1400)
    assert config.allowed == ("100.96.0.0/12", "fd00:96::/64")
    assert config.endpoint == ("2001:db8::1", 51820)
    assert "Address" not in config.setconf
    assert "MTU" not in config.setconf
    assert "PresharedKey = c2hhcmVk\n" in config.setconf
    assert "PresharedKey = b3RoZXI=\n" in config.with_preshared_key("b3RoZXI=").setconf
