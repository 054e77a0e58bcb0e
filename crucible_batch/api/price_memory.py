"""Prices that earlier runs of an account paid, kept in the user's state directory. ``plan`` shows them as an estimate.

They are never a permission to spend: no price book and no admission has them, since a price may have changed since.

The gateway names no account id, so an account is recognised by its API base and a salted fingerprint of the API key.
The salt is random and belongs to the file; neither the key nor a hash that could be compared elsewhere is stored. A
renewed key begins with no prices. The file may be deleted; one that can't be read or written counts as empty.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from crucible_batch.atomic_files import replacing
from crucible_batch.domain.credits import Credits, format_credits
from crucible_batch.domain.events import (
    Accepted,
    Created,
    Failed,
    Held,
    HoldReleased,
    JobLost,
    Refused,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.domain.prices import UPLOAD, Shape
from crucible_batch.domain.progress import AssetAdvanced, JobAdvanced, Message, Observer
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

_FILE = "prices.json"
_VERSION = 1
_MOST_ENTRIES = 2000
_MAX_BYTES = 2 * 1024 * 1024
_LONGEST_TEXT = 300
_SALT_BYTES = 16
_ROUNDS = 200_000
"""As for the fingerprint in a journal (``api.account``): 50 ms for us, but for each guess by a reader of the file."""


@dataclass(frozen=True, slots=True)
class PaidPrice:
    """What one purchase of a shape cost last: in a run of that name, at that time (seconds since the epoch)."""

    price_class: str
    shape: str
    credits: Credits
    at: float
    run: str


class PaidPrices:
    """An observer that notes what each shape cost in this run. Messages are passed on to ``observer``."""

    def __init__(self, observer: Observer, run: str) -> None:
        self._observer = observer
        self._run = run
        self._in_flight: dict[str, Shape] = {}
        self.found: dict[Shape, PaidPrice] = {}

    def notify(self, message: Message) -> None:
        if isinstance(message, JobAdvanced):
            match message.event:
                case Held() as held:
                    self._in_flight[message.identity] = Shape(held.price_class, held.shape)
                case Accepted(reused=False, credits=credits) | Repriced(settled=None, credits=credits):
                    self._note(self._in_flight.get(message.identity), credits, message.at)
                case Repriced(settled=Settled() as settled, credits=credits):
                    self._note(Shape(settled.price_class, settled.shape), credits, message.at)
                case Succeeded() | Failed() | Refused() | HoldReleased() | SubmitUnknown() | JobLost():
                    self._in_flight.pop(message.identity, None)
                case _:
                    pass
        elif isinstance(message, AssetAdvanced) and isinstance(message.event, Created) and not message.event.assumed:
            self._note(UPLOAD, message.event.credits, message.at)
        self._observer.notify(message)

    def _note(self, shape: Shape | None, credits: Credits, at: float) -> None:
        if shape is not None and (shape in self.found or len(self.found) < _MOST_ENTRIES):
            self.found[shape] = PaidPrice(shape.price_class, shape.digest, credits, at, self._run)


def remember_prices(settings: Settings, paid: Iterable[PaidPrice]) -> None:
    """Keep the prices of a run. Two runs that do so at the same moment may lose one run's."""
    new = list(paid)
    if settings.state_directory is None or settings.api_key is None or not new:
        return
    file = settings.state_directory / _FILE
    salt, entries = _read(file)
    account = _account(settings, salt)
    replaced = {(account, price.price_class, price.shape) for price in new}
    kept = [entry for entry in entries if (entry[0], entry[1].price_class, entry[1].shape) not in replaced]
    every = [*((account, price) for price in new), *kept][:_MOST_ENTRIES]
    rows = [{**asdict(price), "credits": format_credits(price.credits), "account": account} for account, price in every]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file) as target:
            target.write(json.dumps({"version": _VERSION, "salt": salt.hex(), "prices": rows}, indent=0).encode())
    except OSError as error:
        logger.debug("the prices of this run are not remembered: %s", error)


def recall_prices(settings: Settings) -> Mapping[Shape, PaidPrice]:
    """Return what the account's earlier runs paid, by shape, and the newest price of each price class."""
    if settings.state_directory is None or settings.api_key is None:
        return {}
    salt, entries = _read(settings.state_directory / _FILE)
    account = _account(settings, salt) if entries else ""
    found: dict[Shape, PaidPrice] = {}
    for of, price in entries:
        if of == account:
            found.setdefault(Shape(price.price_class, price.shape), price)
            newest = found.setdefault(Shape(price.price_class), price)
            if price.at > newest.at:
                found[Shape(price.price_class)] = price
    return found


def _account(settings: Settings, salt: bytes) -> str:
    secret = f"{settings.gateway}\n{settings.api_key}".encode()
    return hashlib.pbkdf2_hmac("sha256", secret, salt, _ROUNDS)[:16].hex()


def _read(file: Path) -> tuple[bytes, list[tuple[str, PaidPrice]]]:
    """Return the file's salt and its prices with their accounts; a new salt and nothing if it can't be used."""
    nothing = secrets.token_bytes(_SALT_BYTES), list[tuple[str, PaidPrice]]()
    try:
        if not file.is_file():
            return nothing
        with file.open("rb") as source:
            found = json.loads(source.read(_MAX_BYTES))
        version, salt = found["version"], bytes.fromhex(found["salt"])
        rows = found["prices"][:_MOST_ENTRIES]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.debug("the remembered prices in %s can't be read: %s", file, error)
        return nothing
    if version != _VERSION or len(salt) != _SALT_BYTES:
        return nothing
    return salt, [entry for row in rows if (entry := _entry(row)) is not None]


def _entry(row: object) -> tuple[str, PaidPrice] | None:
    if not isinstance(row, dict):
        return None
    named = [row.get(name) for name in ("account", "price_class", "shape", "run")]
    credits, at = row.get("credits"), row.get("at")
    if not isinstance(credits, str) or isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e11:
        return None
    texts = [text for text in named if isinstance(text, str) and len(text) <= _LONGEST_TEXT]
    if len(texts) != 4:
        return None
    try:
        amount = Decimal(credits)
    except ArithmeticError:
        return None
    if not amount.is_finite() or not 0 <= amount < 10**12 or len(credits) > 40:
        return None
    return texts[0], PaidPrice(texts[1], texts[2], amount, float(at), texts[3])
