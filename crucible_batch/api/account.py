"""Whose a run directory is: the account that its jobs were bought with, told by the key, or by what the key sees.

the key                                       nothing bought, nothing in doubt    else
is the one that was used last                 the directory's                     the directory's
finds the newest job of ours                  -                                   the directory's
doesn't find it                               -                                   another's
no job of ours, and finds an image of ours    the directory's                     the directory's
no job of ours, and finds no image            may be                              refused: it can't be seen
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass

from crucible_batch.domain.ledger import Ledger
from crucible_batch.errors import GatewayError, OtherAccountError, RunDirectoryError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal

_KIND = "pbkdf2"
_ROUNDS = 200_000
"""Some 50 ms: once a command for us, for each guess at a key for somebody who has the journal."""
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class DirectoryAccount:
    """The account of a key. ``is_proven``: it is known to be the directory's; else nothing speaks against it."""

    fingerprint: str
    is_proven: bool


async def check_account(journal: Journal, gateway: HttpGateway, key: str) -> None:
    """Refuse a directory of another account, and note this key as one of its own."""
    journal.remember_key((await refuse_other_account(journal, gateway, key)).fingerprint)


async def refuse_other_account(
    journal: Journal, gateway: HttpGateway, key: str, *, same_account: bool = False
) -> DirectoryAccount:
    """Refuse a directory of another account: its keys count for nothing here, and every job would be bought again.

    A renewed key of the same account still finds what that account has; ``same_account`` is the user's word for it,
    where there is nothing to find.
    """
    known = journal.remembered_key()
    if known is not None and _is_of(known, key):
        return DirectoryAccount(known if known.startswith(_KIND) else _fingerprint(key), is_proven=True)
    return DirectoryAccount(_fingerprint(key), is_proven=await _is_proven(journal, gateway, same_account=same_account))


async def _is_proven(journal: Journal, gateway: HttpGateway, *, same_account: bool) -> bool:
    """Whether a key that is new here finds what is ours. Raises ``RunDirectoryError`` where it may not be used."""
    if (job_id := journal.newest_gateway_job()) is not None:
        if not await _is_found(gateway.job(job_id)):
            raise OtherAccountError(journal.path.parent.parent)
        return True
    asset_id = journal.newest_gateway_asset()
    if asset_id is not None and await _is_found(gateway.asset(asset_id)):
        return True
    if not same_account and _may_have_bought(journal):
        raise _unseen(journal)
    return False


async def _is_found(look: Awaitable[object]) -> bool:
    try:
        await look
    except GatewayError as error:
        if error.status != 404 or not error.is_refusal:  # an edge's page says nothing of it
            raise
        return False
    return True


def _may_have_bought(journal: Journal) -> bool:
    ledger = Ledger()
    for subject, event in journal.events():
        ledger.apply(subject, event)
    return bool(ledger.holds() or ledger.lost_uploads or ledger.assumed_uploads or ledger.spent)


def _unseen(journal: Journal) -> RunDirectoryError:
    return RunDirectoryError(
        f"{journal.path.parent.parent} was used with another key, and whether this one is of the same account can't be"
        " seen: a submit or an upload was sent with the other, and this one finds nothing of it",
        hint="use that key. Where it was renewed, crucible-batch run --same-account takes this one; for another account"
        " choose another --out-dir",
    )


def _fingerprint(key: str, salt: bytes | None = None) -> str:
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha256", key.encode(), salt, _ROUNDS)
    return f"{_KIND}:{salt.hex()}:{digest.hex()}"


def _is_of(fingerprint: str, key: str) -> bool:
    """Whether a fingerprint is that of a key; one that can't be read is that of none."""
    kind, _, rest = fingerprint.partition(":")
    if kind != _KIND:  # of release 0.1
        old = hashlib.sha256(b"crucible-batch:" + key.encode()).hexdigest()[:16]
        return hmac.compare_digest(fingerprint.encode(), old.encode())
    try:
        salt = bytes.fromhex(rest.partition(":")[0])
    except ValueError:
        return False
    return hmac.compare_digest(fingerprint.encode(), _fingerprint(key, salt).encode())
