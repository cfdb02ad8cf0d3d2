"""Sans-IO cores: bytes and time in, bytes and events out."""
