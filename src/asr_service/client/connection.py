"""Connections to the service: their time-outs, certificates, and errors."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from asr_service.client.errors import AuthorityUnknown, ServerUnusable

# The service sends a line at least every ASR_REQUEST_TIMEOUT_S (300 by default). A proxy may delay the first one.
TIMEOUT: Final = httpx.Timeout(10.0, read=900.0, write=120.0, pool=None)
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ")
# Codes of OpenSSL's x509_vfy.h
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
_OTHER_CLOCK: Final = " Renew it, or correct the clock of this machine."
_OTHER_HOST: Final = " Use a name in the address that the certificate has."
_CERTIFICATE_ADVICE: Final = {9: _OTHER_CLOCK, 10: _OTHER_CLOCK, 62: _OTHER_HOST, 64: _OTHER_HOST}


def connect_failure(url: httpx.URL, error: httpx.TransportError) -> ServerUnusable:
    """Return the error for a service that cannot be reached."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_failure(url, cause)
        cause = cause.__cause__ or cause.__context__
    reason = _ERRNO.sub("", str(error)).rstrip(".")
    return ServerUnusable(f"{url} cannot be reached: {reason}. Check the address, and that the service runs.")


def _certificate_failure(url: httpx.URL, error: ssl.SSLCertVerificationError) -> ServerUnusable:
    reason = error.verify_message.rstrip(".")
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return AuthorityUnknown(f"The certificate of {url} is not trusted: {reason}.")
    advice = _CERTIFICATE_ADVICE.get(error.verify_code, "")
    return ServerUnusable(f"The certificate of {url} is not valid: {reason}.{advice}")


@contextmanager
def opening_failures(url: str) -> Iterator[None]:
    """Raise ServerUnusable if no client can be made: `url` is not valid, or the environment has an unusable proxy."""
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServerUnusable(f"{url!r} is not a valid address: {error}.") from error
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ServerUnusable(
            "The proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used. It must be an address such as "
            "http://proxy.example.com:3128. To use no proxy, unset the variable."
        ) from error


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Trust the authorities of a file in addition to the usual ones. Raises ServerUnusable: it has no certificate."""
    context = httpx.create_ssl_context()
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ServerUnusable(
            f"{ca_file} has no certificate in PEM format, which begins with BEGIN CERTIFICATE."
        ) from error
    except OSError as error:
        raise ServerUnusable(f"{ca_file} cannot be read: {error.strerror}.") from error
    return context
