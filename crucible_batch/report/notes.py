"""What the figures of a report can't show: said in words, and never more than could be observed."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.core.credits import format_credits
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD_CLASS


def notes(ledger: Ledger) -> Iterator[str]:
    """Yield a sentence for each thing that a reader of the figures should know."""
    if ledger.repriced_jobs:
        yield (
            f"the records of {ledger.repriced_jobs} job{'s' if ledger.repriced_jobs > 1 else ''} name other prices than"
            f" the answers to the submits, by {format_credits(ledger.price_differs)} credits in all: the higher figure"
            " of each counts"
        )
    for surprise in (each for each in ledger.surprises if not each.by_record):
        what = "an upload" if surprise.price_class == UPLOAD_CLASS else f"a job on {_workflow(surprise.price_class)}"
        yield (
            f"{what} cost {format_credits(surprise.charged)} credits where {format_credits(surprise.held)} were held"
            " for it: a price above every bound there was before the gateway's answer"
        )
    if ledger.reused_assets:
        yield (
            f"{_count(ledger.reused_assets, 'image')} found at the gateway and used again: what an upload once cost"
            " can't be seen, so it counts 0"
        )
    if ledger.restored_with_images:
        yield (
            f"{_count(ledger.restored_with_images, 'job')} restored from receipts without what the upload of its image"
            " cost: that counts 0"
        )
    if ledger.assumed_uploads:
        yield (
            f"{_count(ledger.assumed_uploads, 'upload')} charged in an answer that never came: counted with the price"
            " of one upload"
        )
    if ledger.lost_uploads:
        yield (
            f"{_count(ledger.lost_uploads, 'upload')} asked for whose answer never came, and not found at the gateway:"
            " held with the price of one upload, since whether it was charged can't be seen"
        )


def _workflow(price_class: str) -> str:
    return price_class.partition(":")[2]


def _count(number: int, word: str) -> str:
    return f"{number} {word}s were" if number != 1 else f"1 {word} was"
