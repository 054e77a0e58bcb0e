"""Addresses: which URLs we talk to, what goes into their paths, and how they are shown."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote

import httpx

from crucible_batch.core.text import clean
from crucible_batch.errors import UNSAFE_URL, GatewayError, UserError

PRODUCTION: Final = "https://crucible.moltazine.com"

ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"
_ID: Final = re.compile(ID_PATTERN)
_WORKFLOW_ID: Final = re.compile(r"(?!\.+$)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""The contract says no more than that it isn't empty. It is percent-encoded whole, and is no dot segment of a path."""
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]+")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

STORAGE_URL_LIMIT: Final = 16_384
"""Signed URLs are about 1 KB, 4 KB with session tokens; servers refuse far shorter ones than this."""


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port, with the scheme's own port filled in (RFC 6454)."""
    return url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme)


def is_loopback(url: httpx.URL) -> bool:
    """Whether the host is ``localhost`` or a loopback address in its usual spelling; no name is looked up."""
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def parse_api_base(text: str) -> httpx.URL:
    """Read the API's base URL: https, or http to this machine; a path is kept as a prefix.

    Raises ``UserError`` otherwise, and where there is userinfo, a query or a fragment.
    """
    url = _parse(text)
    if url is None:
        raise UserError(f"not a base URL: {clean(text, 100)!r}", hint=f"give one like {PRODUCTION}")
    if url.userinfo or url.query or url.fragment or "?" in text or "#" in text:
        raise UserError("the base URL must not hold a user, a query or a fragment", hint=f"give one like {PRODUCTION}")
    if url.scheme == "http" and not is_loopback(url):
        raise UserError(
            f"the base URL {shown(url)} would send the key in clear text",
            hint="use https; http is for this machine only",
        )
    return url.copy_with(path=url.path.rstrip("/") or "/")


def check_storage_url(url: str, api_base: httpx.URL | str) -> httpx.URL:
    """Refuse a storage URL that we must not go to, whether it came in an answer or from a redirect.

    It takes https; http only to this machine, and only where the API itself is on this machine; never userinfo.
    Returns it parsed. Raises ``GatewayError`` with code ``UNSAFE_URL``. What its host resolves to is the business of
    ``guard``.
    """
    parsed = _parse(url) if len(url) <= STORAGE_URL_LIMIT else None
    if parsed is None:
        raise unsafe("a storage URL that can't be read")
    if parsed.userinfo:
        raise unsafe(f"the storage URL {shown(parsed)} holds a user or a password")
    if parsed.scheme == "http" and not (is_loopback(parsed) and is_loopback(httpx.URL(api_base))):
        raise unsafe(f"the storage URL {shown(parsed)} is not https")
    return parsed


def check_id(value: str, *, what: str) -> str:
    """Return an asset's or a job's id, fit for a path. Raises ``GatewayError`` before anything is sent."""
    return _checked(_ID, value, what)


def check_workflow_id(value: str) -> str:
    """Return a workflow id. Raises ``GatewayError`` before anything is sent for one that can't be."""
    return _checked(_WORKFLOW_ID, value, "workflow id")


def workflow_segment(value: str) -> str:
    """Return a workflow id as one segment of a path, percent-encoded (RFC 3986). Raises as ``check_workflow_id``."""
    return quote(check_workflow_id(value), safe="")


def shown(url: httpx.URL | str) -> str:
    """Write a URL as scheme, host and path: whatever else it holds may be a secret."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "(a URL that can't be read)"
    port = f":{parsed.port}" if parsed.port else ""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return clean(f"{parsed.scheme}://{host}{port}{parsed.path}", 200)


def _parse(text: str) -> httpx.URL | None:
    """Parse an absolute http(s) URL strictly: httpx takes blanks, backslashes and percents in hosts."""
    if _UNSAFE.search(text):
        return None
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return None
    port_fits = url.port is None or 0 < url.port < 65_536
    return url if url.scheme in _DEFAULT_PORTS and _HOST.fullmatch(host) and port_fits else None


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise GatewayError(
            f"not a {what}: {clean(value, 100)!r}",
            code="BAD_REQUEST",
            hint=f"nothing was sent; see that the {what} is one that the gateway gave",
        )
    return value


def unsafe(message: str, *, hint: str = "nothing was sent there; report it to the gateway's operator") -> GatewayError:
    """Build the error of a link that must not be followed."""
    return GatewayError(message, code=UNSAFE_URL, operation="storage", hint=hint)
