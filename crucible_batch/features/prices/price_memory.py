"""Prices that earlier runs of an account paid, kept in the user's state directory.

``plan`` shows them as an estimate. They are never a permission to spend: no price book and no
admission has them, since a price may have changed since.

The gateway names no account id, so an account is recognised by its API base and a salted
fingerprint of the API key. The salt is random and belongs to the file; neither the key nor a hash
that could be compared elsewhere is stored. A renewed key begins with no prices. The file may be
deleted; one that can't be read or written counts as empty.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from crucible_batch.atomic_files import replacing
from crucible_batch.core.prices import PaidPrice, Shape
from crucible_batch.runs.account import key_digest
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

_FILE = "prices.json"
MOST_ENTRIES = 2000
_MAX_BYTES = 2 * 1024 * 1024
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The content of the file. One that can't be read counts as a new salt and no prices."""

    salt: Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * _SALT_BYTES}}}$")]
    prices: list[PaidPrice] = field(default_factory=list)
    version: Literal[1] = 1


_REMEMBERED: TypeAdapter[_Remembered] = TypeAdapter(_Remembered)


def remember_prices(settings: Settings, paid: Iterable[PaidPrice]) -> None:
    """Keep the prices of a run. Two runs that do so at the same moment may lose one run's."""
    new = list(paid)
    if settings.state_directory is None or settings.api_key is None or not new:
        return
    file = settings.state_directory / _FILE
    known = _read(file)
    account = _account(settings, known.salt)
    replaced = {(account, price.price_class, price.shape) for price in new}
    kept = [
        price
        for price in known.prices
        if (price.account, price.price_class, price.shape) not in replaced
    ]
    prices = [*(replace(price, account=account) for price in new), *kept][:MOST_ENTRIES]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file) as target:
            target.write(_REMEMBERED.dump_json(_Remembered(known.salt, prices), indent=0))
    except OSError as error:
        logger.debug("the prices of this run are not remembered: %s", error)


def recall_prices(settings: Settings) -> Mapping[Shape, PaidPrice]:
    """Return what the account's earlier runs paid: by shape, and the newest of each price class."""
    if settings.state_directory is None or settings.api_key is None:
        return {}
    known = _read(settings.state_directory / _FILE)
    account = _account(settings, known.salt) if known.prices else ""
    found: dict[Shape, PaidPrice] = {}
    for price in known.prices:
        if price.account == account:
            found.setdefault(Shape(price.price_class, price.shape), price)
            newest = found.setdefault(Shape(price.price_class), price)
            if price.at > newest.at:
                found[Shape(price.price_class)] = price
    return found


def _account(settings: Settings, salt: str) -> str:
    secret = f"{settings.gateway}\n{settings.api_key}".encode()
    return key_digest(secret, bytes.fromhex(salt))[:16].hex()


def _read(file: Path) -> _Remembered:
    try:
        if file.is_file():
            with file.open("rb") as source:
                return _REMEMBERED.validate_json(source.read(_MAX_BYTES))
    except (OSError, ValidationError) as error:
        logger.debug("the remembered prices in %s can't be read: %s", file, type(error).__name__)
    return _Remembered(secrets.token_hex(_SALT_BYTES))
