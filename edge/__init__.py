"""The PoP: terminates tunnels and forwards IP packets inside virtual networks.

General layout: ``proto/`` holds sans-IO cores (bytes and time in, bytes and events out), ``io/`` the trio
ports, ``server/`` the process, ``state/`` what survives a restart, ``document``/``config`` the strict loader.
"""
