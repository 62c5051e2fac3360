"""A port for a server that has to be told one."""

import socket


def free_port() -> int:
    """One that nobody listens at. Another may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
