"""What a far end was given when it was enrolled: the file of `poplab edge add-client` or `add-connector`."""

from connectors.profile.read import read
from connectors.profile.types import MasqueServer, Profile, WireGuardServer

__all__ = ["MasqueServer", "Profile", "WireGuardServer", "read"]
