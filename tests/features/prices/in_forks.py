"""What the record of prices does for less in the forks of the tests."""

from __future__ import annotations

import hashlib

from crucible_batch.features.prices import price_memory


def prepare() -> None:
    """Derive the digest of a key in one round."""
    price_memory.key_digest = lambda secret, salt: hashlib.sha256(salt + secret).digest()
