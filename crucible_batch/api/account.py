"""Whose a run directory is: the account that its jobs were bought with, told by the key."""

from __future__ import annotations

import hashlib

from crucible_batch.errors import GatewayError, RunDirectoryError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Journal


async def check_account(journal: Journal, gateway: HttpGateway, key: str) -> None:
    """Refuse a directory of another account, and note this key as one of its own."""
    journal.remember_key(await refuse_other_account(journal, gateway, key))


async def refuse_other_account(journal: Journal, gateway: HttpGateway, key: str) -> str:
    """Refuse a directory of another account: its keys count for nothing here, and every job would be bought again.

    A renewed key of the same account still finds the jobs of that account. Returns the key's fingerprint.
    """
    fingerprint = hashlib.sha256(b"crucible-batch:" + key.encode()).hexdigest()[:16]
    known_job = journal.newest_gateway_job()
    if not journal.knows_key(fingerprint) and known_job is not None:
        try:
            await gateway.job(known_job)
        except GatewayError as error:
            if error.status != 404 or not error.is_refusal:  # an edge's page says nothing of it
                raise
            raise RunDirectoryError(
                f"{journal.path.parent.parent} belongs to another account: this key doesn't find its jobs",
                hint="use that account's key, or choose another --out-dir",
            ) from error
    return fingerprint
