"""The account that a run directory belongs to, identified by the API key or by what the key can
read.

Whether the account of a key is the directory's depends on what the key can read, and on whether the
directory has bought something, or may have (a submit or an upload without an answer):

    key                                       nothing bought or in doubt   otherwise
    is the one used last                      same account                 same account
    reads the directory's newest job          -                            same account
    can't read that job                       -                            refused: another account
    no job recorded, reads the newest asset   same account                 same account
    no job recorded, can't read an asset      may be the same              refused: not known

The shards of a divided plan have to be run in the account in which it was divided. The plan has the
fingerprint of its key, the newest job and the newest asset, and may be all that a machine knows, so
what can't be determined is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crucible_batch.core.saved_plan import PlanAccount
from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.errors import GatewayError, OtherAccountError, RunDirectoryError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal
from crucible_batch.runs.run_journal import ledger_of

_KIND = "pbkdf2"
_ROUNDS = 200_000
"""Takes about 50 ms: once per command, but for each guess of an attacker who has the journal."""
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class DirectoryAccount:
    """The account of a key.

    ``is_proven`` is true if it is known to be the directory's account, false if it only isn't known
    to be another.
    """

    fingerprint: str
    is_proven: bool


async def refuse_other_account(
    journal: Journal, gateway: HttpGateway, key: str, *, same_account: bool = False
) -> DirectoryAccount:
    """Refuse a directory of another account: its idempotency keys have no effect here, so all jobs
    would be rebought.

    A renewed key of the same account can still read that account's jobs and assets.
    ``same_account`` is the user's statement that it is the same account, used if there is nothing
    to read.

    Raises ``OtherAccountError``, ``RunDirectoryError`` if the account can't be determined, and
    ``GatewayError``.
    """
    known = journal.remembered_key()
    if known is not None and is_of_key(known, key):
        return DirectoryAccount(known, is_proven=True)
    return DirectoryAccount(
        _fingerprint(key), is_proven=await _is_proven(journal, gateway, same_account=same_account)
    )


async def _is_proven(journal: Journal, gateway: HttpGateway, *, same_account: bool) -> bool:
    """Return whether a key that is new here can read the directory's newest job or asset.

    Raises ``RunDirectoryError`` if the key may not be used.
    """
    found = await _finds(gateway, journal.newest_gateway_job(), journal.newest_gateway_asset())
    if found is False:
        raise OtherAccountError(journal.path.parent.parent)
    if found:
        return True
    ledger = ledger_of(journal)
    may_have_bought = (
        ledger.holds() or ledger.lost_uploads or ledger.assumed_uploads or ledger.spent
    )
    if may_have_bought and not same_account:
        raise RunDirectoryError(
            f"{journal.path.parent.parent} was used with another API key, and whether this key is "
            "of the same account can't be verified: a submit or an upload was sent with the other "
            "key, and this key finds no record of it",
            hint=(
                "use that key. If it was renewed, run with --same-account accepts this one; "
                "for another account, choose another --out-dir"
            ),
        )
    return False


async def refuse_account_of_shard(
    account: PlanAccount, gateway: HttpGateway, key: str, *, same_account: bool = False
) -> None:
    """Refuse to run a shard in another account than that of its plan. ``same_account`` is as above.

    Raises ``RunDirectoryError``, and ``GatewayError``.
    """
    if is_of_key(account.fingerprint, key):
        return
    found = await _finds(gateway, account.job_id, account.asset_id)
    if found is False:
        raise RunDirectoryError(
            "the plan was divided in another account: "
            "its newest job is not found with this API key",
            hint="run all shards of a plan with keys of the account in which it was divided",
        )
    if found is None and not same_account:
        raise RunDirectoryError(
            "the plan was divided with another API key, and whether this key is "
            "of the same account can't be verified: nothing was bought before",
            hint="use that key; for another key of the same account, add --same-account",
        )


async def _finds(gateway: HttpGateway, job_id: str | None, asset_id: str | None) -> bool | None:
    """Return whether the key reads the newest job, or else the newest asset.

    None if neither proves anything: an asset may have been deleted.
    """
    if job_id is not None:
        return await _is_found(lambda: gateway.job(job_id))
    if asset_id is not None and await _is_found(lambda: gateway.asset(asset_id)):
        return True
    return None


async def _is_found(read: Callable[[], Awaitable[object]]) -> bool:
    try:
        await read_acknowledged(read, asyncio.sleep)
    except GatewayError as error:
        if not error.is_not_found:
            raise
        return False
    return True


def _fingerprint(key: str, salt: bytes | None = None) -> str:
    if salt is None:
        salt = secrets.token_bytes(_SALT_BYTES)
    return f"{_KIND}:{salt.hex()}:{key_digest(key.encode(), salt).hex()}"


def key_digest(secret: bytes, salt: bytes) -> bytes:
    """Return the salted digest by which a key is recognised."""
    return hashlib.pbkdf2_hmac("sha256", secret, salt, _ROUNDS)


def is_of_key(fingerprint: str, key: str) -> bool:
    """Return whether the fingerprint was made from the key; False if it is malformed."""
    _, _, rest = fingerprint.partition(":")
    try:
        salt = bytes.fromhex(rest.partition(":")[0])
    except ValueError:
        return False
    return hmac.compare_digest(fingerprint.encode(), _fingerprint(key, salt).encode())
