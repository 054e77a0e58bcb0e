"""The world's records as the contract shows them: the data of each answer."""

from dataclasses import dataclass
from datetime import UTC, datetime

from crucible_batch.sandbox.ledger import Totals
from crucible_batch.sandbox.records import Asset, Entry, Ids, Job
from crucible_batch.sandbox.signing import Signer, Verb

ASSET_BUCKET = "crucible-assets"
OUTPUT_BUCKET = "crucible-outputs"
# The moment since when the table of workflows is as it is.
WORKFLOWS_UPDATED_AT = datetime(2026, 1, 1, tzinfo=UTC)

Data = dict[str, object]


@dataclass(frozen=True, slots=True)
class Links:
    """Makes storage URLs that hold until `expires_at` (seconds since the epoch)."""

    storage_url: str
    signer: Signer
    expires_at: float

    def url(self, verb: Verb, bucket: str, path: str) -> str:
        return self.storage_url + self.signer.query(verb, f"/{bucket}/{path}", self.expires_at)


def credits(totals: Totals, entries: list[Entry]) -> Data:
    return {
        "balance": totals.balance,
        "reserved": totals.reserved,
        "available": totals.available,
        "recent_entries": [_entry(entry) for entry in entries],
    }


def asset(asset: Asset, now: float, links: Links) -> Data:
    status, path = asset.status(now), asset_path(asset)
    return {
        "asset_id": asset.asset_id,
        "status": status,
        "mime_type": asset.mime_type,
        "byte_size": asset.byte_size,
        "bucket": ASSET_BUCKET,
        "object_path": path,
        "original_filename": asset.filename,
        "metadata": asset.metadata,
        "created_at": _moment(asset.created_at),
        "upload_expires_at": _moment(asset.upload_expires_at),
        "download_url": links.url("download", ASSET_BUCKET, path) if status == "ready" else None,
    }


def asset_intent(asset: Asset, links: Links) -> Data:
    """Show a new asset, with the only way to fill it."""
    path = asset_path(asset)
    return {
        "asset_id": asset.asset_id,
        "bucket": ASSET_BUCKET,
        "object_path": path,
        "upload_url": links.url("upload", ASSET_BUCKET, path),
        "upload_token": links.signer.sign("upload", f"/{ASSET_BUCKET}/{path}", links.expires_at),
        "upload_expires_at": _moment(asset.upload_expires_at),
        "credits_charged": asset.charged,
    }


def job(job: Job, now: float, links: Links) -> Data:
    shown: Data = {
        "job_id": job.job_id,
        "status": job.status(now),
        "workflow_id": job.workflow_id,
        "requested_credits": job.recorded_price,
        "error_code": None,
        "error_message": None,
        "outputs": [],
    }
    match job.status(now):
        case "failed":
            shown |= {"error_code": job.error_code, "error_message": job.error_message}
        case "succeeded":
            shown["outputs"] = [_output(job, index, links) for index in range(len(job.outputs))]
    return shown


def asset_path(asset: Asset) -> str:
    """Name an asset within its bucket: by ids alone, for file names come from outside."""
    return f"{asset.account_id}/{asset.asset_id}"


def output_path(job: Job, index: int) -> str:
    return f"{job.job_id}/{index}.{job.outputs[index].mime_type.partition('/')[2]}"


def _output(job: Job, index: int, links: Links) -> Data:
    shape, path = job.outputs[index], output_path(job, index)
    return {
        "id": Ids(f"output-{job.job_id}", index).next(),
        "job_id": job.job_id,
        "output_index": index,
        "storage_provider": "sandbox",
        "bucket": OUTPUT_BUCKET,
        "path": path,
        "url": links.url("download", OUTPUT_BUCKET, path),
        "mime_type": shape.mime_type,
        "width": shape.width,
        "height": shape.height,
        "metadata": {},
        "created_at": _moment(job.finished_at),
    }


def _entry(entry: Entry) -> Data:
    return {
        "id": entry.entry_id,
        "job_id": entry.job_id,
        "entry_type": entry.entry_type,
        "status": "held" if entry.entry_type == "reserve" else "settled",
        "amount": entry.amount,
        "description": entry.description,
        "created_at": _moment(entry.created_at),
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
