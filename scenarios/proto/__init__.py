"""Sans-IO cores of the simulated hosts: bytes and time in, bytes and events out."""
