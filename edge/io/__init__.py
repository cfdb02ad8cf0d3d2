"""Trio ports shared by the PoP, connectors and clients. Knows no tunnel protocol."""
