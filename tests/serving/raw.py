"""HTTP by hand: what no client library would send."""

import json
import socket
from typing import Any

from tests.patience import PATIENCE


def connect(address: str) -> socket.socket:
    """A connection to a service."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(path: str = "/v1/chat/completions", method: str = "POST", **headers: object) -> bytes:
    """A request line and headers, with the empty line that ends them."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def question(statement: str, **more: Any) -> bytes:
    """A whole request."""
    data = json.dumps({"model": "tiny-a", "messages": [{"role": "user", "content": statement}], **more}).encode()
    return head(content_type="application/json", content_length=len(data)) + data


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_reply(connection: socket.socket) -> bytes:
    """One whole reply with a length; its head and its body may come apart."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _part(connection)
    said, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in said.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += _part(connection)
    return said + body


def _part(connection: socket.socket) -> bytes:
    part = connection.recv(65_536)
    if not part:
        raise ConnectionResetError("closed within a reply")
    return part
