"""Addresses and secrets of notifications, read from the environment and from files.

Their text is never shown. A manifest may come from another person. So that it can't send the API
key, the key's own variable is refused, and so is any text that contains the key. What is read is
used only as an http or https URL, as a signing secret of the exact form of Standard Webhooks, or as
an Apprise URL; anything else is refused without being repeated.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from crucible_batch.atomic_files import open_at_once
from crucible_batch.gateway.url_guard import port_fits
from crucible_batch.secret_text import HiddenText, register_secret

MAX_SOURCE_BYTES = 64 * 1024
MAX_URL = 4096
MAX_APPRISE_URLS = 20
MAX_SECRETS = 5
_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_BLANK = re.compile(r"[\x00-\x20\x7f]")
_APPRISE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class SourceFault(Exception):  # noqa: N818 - it becomes a problem of the notification
    """A source that can't be used.

    The message names the source, and contains nothing that was read from it.
    """


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Reads ``env:NAME`` and ``file:PATH``.

    ``variables`` are those of the env file, which the environment overrides. Paths are relative to
    ``directory``. ``key_variable`` and ``api_key`` are refused.
    """

    environ: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    directory: Path
    key_variable: str
    api_key: str | None = field(repr=False)

    def text(self, source: str) -> HiddenText:
        """Return the text of a source without surrounding blanks. Raises ``SourceFault``."""
        kind, _, name = source.partition(":")
        if kind == "env":
            text = self._variable(name)
            if not text:
                raise SourceFault(f"{source}: the variable is not set")
        else:
            text = self._file(source, self.directory / name)
            if not text:
                raise SourceFault(f"{source} is empty")
        if self.api_key and self.api_key in text:
            raise SourceFault(
                f"{source} contains the API key, which is never sent to another server"
            )
        return text

    def url(self, source: str) -> HiddenText:
        """Return the http or https URL of a source. Raises ``SourceFault``."""
        text = self.text(source)
        if _BLANK.search(text) or len(text) > MAX_URL:
            raise SourceFault(f"{source} is not a URL")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError):
            raise SourceFault(f"{source} is not a URL") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise SourceFault(f"{source} is not an http or https URL")
        if not port_fits(url):
            raise SourceFault(f"{source} is a URL whose port is not from 1 to 65535")
        register_secret(text)
        return HiddenText(str(url.copy_with(fragment=None)))

    def signing_keys(self, source: str) -> tuple[bytes, ...]:
        """Return the keys of a source's secrets, which are separated by blanks.

        Raises ``SourceFault``.
        """
        secrets = self.text(source).split()
        if len(secrets) > MAX_SECRETS:
            raise SourceFault(
                f"{source} has {len(secrets)} secrets;"
                f" at most {MAX_SECRETS} are used at the same time"
            )
        for secret in secrets:
            register_secret(secret)
        return tuple(_signing_key(source, secret) for secret in secrets)

    def apprise_urls(self, source: str) -> tuple[HiddenText, ...]:
        """Return the Apprise URLs of a source, one a line; ``#`` begins a comment.

        Raises ``SourceFault``.
        """
        lines = [line.strip() for line in self.text(source).splitlines()]
        urls = tuple(HiddenText(line) for line in lines if line and not line.startswith("#"))
        if not urls or not all(_APPRISE.fullmatch(url) and len(url) <= MAX_URL for url in urls):
            raise SourceFault(f"{source} must contain Apprise URLs, one a line")
        if len(urls) > MAX_APPRISE_URLS:
            raise SourceFault(
                f"{source} has {len(urls)} Apprise URLs; the limit is {MAX_APPRISE_URLS}"
            )
        for url in urls:
            register_secret(url)
        return urls

    def _variable(self, name: str) -> HiddenText:
        if name == self.key_variable:
            raise SourceFault(f"env:{name} is the API key, which is never sent to another server")
        return HiddenText((self.environ.get(name) or self.variables.get(name) or "").strip())

    def _file(self, source: str, path: Path) -> HiddenText:
        """Return the text of a file without surrounding blanks; ``source`` names it in messages.

        A pipe or a device is refused without waiting for it, and no more than the limit is read.
        """
        try:
            with open(path, "rb", opener=open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise SourceFault(f"{source} is not a regular file")
                content = file.read(MAX_SOURCE_BYTES + 1)
        except OSError as error:
            raise SourceFault(
                f"{source} can't be read: {(error.strerror or 'error').lower()}"
            ) from None
        if len(content) > MAX_SOURCE_BYTES:
            raise SourceFault(f"{source} has more than {MAX_SOURCE_BYTES // 1024} KiB")
        try:
            return HiddenText(content.decode("utf-8-sig").strip())
        except UnicodeDecodeError:
            raise SourceFault(f"{source} is not UTF-8") from None


def _signing_key(source: str, secret: str) -> bytes:
    fault = SourceFault(f"{source} must be whsec_ followed by base64 of 24 to 64 bytes")
    if not secret.startswith(_PREFIX):
        raise fault
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise fault from None
    if len(key) not in _SECRET_BYTES:
        raise fault
    return key
