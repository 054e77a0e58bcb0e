"""Signed, expiring storage URLs.

The holder of one may perform one operation on one object for a limited time.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

Verb = Literal["upload", "download"]


class ExpiredError(Exception):
    """The signature is right, its time is over."""


class ForgedError(Exception):
    """The signature is missing, or was not made for this."""


class Signer:
    """Signs paths of the storage.

    The secret follows from the seed: links outlive a restart of the sandbox.
    """

    def __init__(self, seed: int) -> None:
        self._secret = hashlib.sha256(f"storage-{seed}".encode()).digest()

    def sign(self, verb: Verb, path: str, expires_at: float) -> str:
        """Make the token that allows `verb` on `path` until `expires_at`, a Unix time."""
        expiry = f"{expires_at:.3f}"
        return f"{expiry}-{self._mac(verb, path, expiry)}"

    def query(self, verb: Verb, path: str, expires_at: float) -> str:
        return f"{quote(path)}?token={self.sign(verb, path, expires_at)}"

    def check(self, verb: Verb, path: str, query: Mapping[str, str], now: float) -> None:
        """Raise ForgedError or ExpiredError unless `query` allows `verb` on `path` at `now`."""
        expiry, _, mac = query.get("token", "").partition("-")
        if not hmac.compare_digest(mac.encode(), self._mac(verb, path, expiry).encode()):
            raise ForgedError
        if float(expiry) <= now:
            raise ExpiredError

    def _mac(self, verb: Verb, path: str, expiry: str) -> str:
        message = f"{verb}\n{path}\n{expiry}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
