"""Where a client may connect to: one origin, and addresses that nobody on the way has put in its place.

A server that is asked for by name may have the name point to anything, also to what only this machine can reach. So a
name is resolved once, each address is judged, and the connection is made to an address that was judged, never to the
name again.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlsplit

from understudy.exceptions import InvalidSpec
from understudy.transports._mcp_errors import AddressBlocked
from understudy.transports._security import is_loopback

__all__ = ["AddressRules", "Origin"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL: what a token belongs to."""

    scheme: str
    host: str
    """In lower case, without the brackets of an IPv6 address."""
    port: int

    @classmethod
    def of(cls, url: str, where: str) -> Origin:
        """The origin of *url*.

        Raises:
            InvalidSpec: It is no absolute http or https URL, or it carries a user name, which would end up in logs.
        """
        problem = f"must be a URL that begins with http:// or https://, got {url!r}"
        if any(not each.isprintable() or each.isspace() for each in url):
            raise InvalidSpec(child=where, field="url", problem=problem)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidSpec(child=where, field="url", problem=problem) from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise InvalidSpec(child=where, field="url", problem=problem)
        if parts.username is not None or parts.password is not None:
            raise InvalidSpec(child=where, field="url", problem="must not hold a user name: use `token=` or `headers=`")
        return cls(parts.scheme, parts.hostname.lower(), _PORTS[parts.scheme] if port is None else port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses may be connected to: public ones, and those that are listed.

    Loopback counts as listed when the URL itself says it: ``http://127.0.0.1:8000``, ``http://localhost``. A name that
    merely resolves to it does not. Private and link-local addresses must be listed, also when the URL has them
    literally.
    """

    allow: tuple[Network, ...] = field(default=())

    @classmethod
    def of(cls, allow: tuple[str, ...], where: str) -> AddressRules:
        """The rules with these addresses and networks listed.

        Raises:
            InvalidSpec: One of them is none.
        """
        networks: list[Network] = []
        for each in allow:
            try:
                networks.append(ipaddress.ip_network(each))
            except ValueError as error:
                problem = f"must be addresses and networks, as in ('10.0.0.0/8', '127.0.0.1'); {error}"
                raise InvalidSpec(child=where, field="allow", problem=problem) from None
        return cls(tuple(networks))

    def check(self, host: str, addresses: list[str]) -> list[str]:
        """*addresses*, for which *host* stands, if every one of them may be connected to.

        Raises:
            AddressBlocked: One of them may not, or there is none.
        """
        if not addresses:
            raise AddressBlocked(host=host, address="nothing", why="the name has no address")
        for each in addresses:
            why = self._problem(host, each)
            if why is not None:
                raise AddressBlocked(host=host, address=each, why=why)
        return addresses

    def _problem(self, host: str, text: str) -> str | None:
        try:
            address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return "it is no address"
        if any(address.version == network.version and address in network for network in self.allow):
            return None
        if address.is_loopback:
            return None if is_loopback(host) else "it is this machine, and the URL does not say so"
        for what, applies in (
            ("it is link-local", address.is_link_local),
            ("it is multicast", address.is_multicast),
            ("it is unspecified", address.is_unspecified),
            ("it is not public", not address.is_global),
        ):
            if applies:
                return what
        return None


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that leads to it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
