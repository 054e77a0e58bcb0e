"""Whose a run directory is: the account that its jobs were bought with, told by the key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from crucible_batch.errors import GatewayError, OtherAccountError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal


@dataclass(frozen=True, slots=True)
class Account:
    """The account of a key. ``is_proven``: it is known to be the directory's; else nothing speaks against it."""

    fingerprint: str
    is_proven: bool


async def check_account(journal: Journal, gateway: HttpGateway, key: str) -> None:
    """Refuse a directory of another account, and note this key as one of its own."""
    journal.remember_key((await refuse_other_account(journal, gateway, key)).fingerprint)


async def refuse_other_account(journal: Journal, gateway: HttpGateway, key: str) -> Account:
    """Refuse a directory of another account: its keys count for nothing here, and every job would be bought again.

    A renewed key of the same account still finds the jobs of that account.
    """
    fingerprint = hashlib.sha256(b"crucible-batch:" + key.encode()).hexdigest()[:16]
    if journal.knows_key(fingerprint):
        return Account(fingerprint, is_proven=True)
    known_job = journal.newest_gateway_job()
    if known_job is None:
        return Account(fingerprint, is_proven=False)
    try:
        await gateway.job(known_job)
    except GatewayError as error:
        if error.status != 404 or not error.is_refusal:  # an edge's page says nothing of it
            raise
        raise OtherAccountError(journal.path.parent.parent) from error
    return Account(fingerprint, is_proven=True)
