"""MASQUE: IP packets in HTTP (RFC 9484) over datagrams and capsules (RFC 9297). Knows neither QUIC nor TCP."""
