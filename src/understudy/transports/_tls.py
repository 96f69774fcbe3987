"""TLS: which certificate is shown, and whose is believed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Tls", "names_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates, as paths of PEM files.

    A listener needs *certificate* and *key*. With *ca*, only certificates that it has signed are believed, on both
    sides: a listener then wants one of each client (mutual TLS), and the name of a node must be one of those in its
    certificate. Without, a client believes the authorities of the operating system.

    The version is TLS 1.2 or later, and host names are checked; there is no switch against either.
    """

    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    server_name: str | None = None
    """The name that the server's certificate must have, where that is not the host of the URL."""

    @property
    def mutual(self) -> bool:
        """Whether the other side has to show a certificate as well."""
        return self.ca is not None

    def for_server(self) -> ssl.SSLContext:
        """What a listener uses.

        Raises:
            OSError: A file is not there, or is no certificate (``ssl.SSLError``).
            ValueError: There is no certificate or no key.
        """
        if self.certificate is None or self.key is None:
            raise ValueError("a listener needs a certificate and its key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.ca is not None:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_client(self) -> ssl.SSLContext:
        """What a client uses.

        Raises:
            OSError: As for :meth:`for_server`.
        """
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


def names_of(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names in a verified certificate, as ``SSLObject.getpeercert`` gives it: those of hosts, else its own."""
    facts = certificate or {}
    hosts = tuple(str(name) for kind, name in facts.get("subjectAltName", ()) if kind == "DNS")
    return hosts or tuple(str(name) for part in facts.get("subject", ()) for kind, name in part if kind == "commonName")
