"""Which addresses an endpoint may have: http(s), and never a cloud's metadata service, whatever name or spelling it
hides behind. Local addresses are allowed: people run their models there.

A URL is checked when it is read, the addresses behind its name before every request, and the address that answered
before its answer is used (a name may change its mind in between).
"""

import asyncio
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA_NAMES: Final = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
}
_METADATA_NETWORKS: Final = [
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local: AWS, Azure, Google, Oracle, OpenStack, ECS tasks
        "fe80::/10",
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::/32",  # Google over IPv6
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle, the older address
    )
]
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


def check_url(url: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ValueError: another scheme than http or https, no host, a user or password in it, a query or a fragment, or a
            metadata address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("has to start with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password; keys belong into the API_KEY variable")
    if parts.query or parts.fragment:
        raise ValueError("has a query or a fragment")
    if host.rstrip(".").lower() in _METADATA_NAMES or _is_metadata_text(host):
        raise ValueError("is a cloud metadata address, which is never called")
    return url.rstrip("/")


async def refused_address(host: str, port: int) -> str | None:
    """The same as `find_refused`, beside the event loop."""
    return await asyncio.to_thread(find_refused, host, port)


def find_refused(host: str, port: int) -> str | None:
    """The metadata address behind a host, None where there is none.

    Raises:
        OSError: the name cannot be resolved.
    """
    if host.rstrip(".").lower() in _METADATA_NAMES:
        return host
    try:
        return host if is_metadata(ipaddress.ip_address(host)) else None
    except ValueError:
        pass
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return next((str(entry[4][0]) for entry in found if _is_metadata_text(str(entry[4][0]))), None)


def is_metadata(address: Address) -> bool:
    """Whether an address, or the IPv4 address that an IPv6 one wraps, is a metadata service's."""
    return any(one in network for one in _faces(address) for network in _METADATA_NETWORKS)


def _faces(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    faces: list[Address] = [address]
    faces += [inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None]
    if address in _NAT64 or address in _COMPATIBLE:
        faces.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return faces


def _is_metadata_text(host: str) -> bool:
    try:
        return is_metadata(ipaddress.ip_address(host.split("%")[0]))
    except ValueError:
        pass
    try:  # 2852039166, 0xa9fea9fe and 169.254.43518 are spellings that the system's resolver accepts
        return is_metadata(ipaddress.IPv4Address(socket.inet_aton(host)))
    except OSError:
        return False
