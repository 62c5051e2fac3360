"""Ports of this machine, for servers that do not choose one themselves."""

import socket


def free_port() -> int:
    """A port that no process listens at now. Another process may take it before the caller does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
