"""Provenance: how an output was made, in a sidecar file beside it and optionally in the picture
itself.

    sidecar    beside the file: everything known, including digests, credits and times
    embedded   in the file: the content of the job's identity, and the gateway's ids

Embedded text is part of the file's digest, and a lost file is restored from a new download. So the
text contains nothing that depends on the job's name, other parts of the manifest, the release or
the date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import cast

from crucible_batch import __version__
from crucible_batch.core.attempt import Attempt
from crucible_batch.core.credits import format_credits
from crucible_batch.core.events import Saved
from crucible_batch.core.identity import Json, canonical
from crucible_batch.core.plan import PlannedJob, RunTerms

TOOL = "crucible-batch"
"""The ``tool`` of a sidecar, and the keyword of the text in a PNG."""


@dataclass(frozen=True, slots=True)
class XmpProperty:
    """A property of a picture in its XMP packet: a simple value in ASCII."""

    prefix: str
    namespace: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is embedded in a picture: the text of its provenance, and properties that readers of
    pictures know."""

    text: str | None = None
    properties: tuple[XmpProperty, ...] = ()


def sidecar(
    terms: RunTerms, planned: PlannedJob, attempt: Attempt, saved: Saved
) -> dict[str, Json]:
    """Return the sidecar of an output, version 1.

    It contains no secrets, no links and no paths of this machine.
    """
    return {
        "schema_version": 1,
        "tool": TOOL,
        "tool_version": __version__,
        "manifest": {"name": terms.manifest_name, "sha256": terms.manifest_sha256},
        "run_id": terms.run_id,
        "name": planned.name,
        "axes": planned.axes,
        "repeat": planned.repeat,
        "workflow_id": planned.workflow_id,
        "prompt": planned.prompt,
        "params": _params(planned),
        "images": {
            param: {"sha256": image.spec.sha256, "filename": image.spec.filename}
            for param, image in planned.images.items()
        },
        "job_id": attempt.job_id,
        "idempotency_key": attempt.key,
        "attempt": attempt.number,
        "credits": format_credits(attempt.credits),
        "output": _output(saved),
        "sent": _sent(saved),
        "saved_at": datetime.fromtimestamp(saved.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
    }


def embedded_text(terms: RunTerms, planned: PlannedJob, attempt: Attempt, index: int) -> str:
    """Return the text to embed, version 1:

    JSON in canonical form, so that it is the same on every machine.
    """
    return canonical(
        {
            "schema_version": 1,
            "tool": TOOL,
            "manifest": terms.manifest_name,
            "run_id": terms.run_id,
            "workflow_id": planned.workflow_id,
            "params": _params(planned),
            "images": {param: image.spec.sha256 for param, image in planned.images.items()},
            "repeat": planned.repeat,
            "job_id": attempt.job_id,
            "idempotency_key": attempt.key,
            "attempt": attempt.number,
            "index": index,
        }
    )


def _params(planned: PlannedJob) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", planned.params)


def _output(saved: Saved) -> dict[str, Json]:
    return {
        "index": saved.index,
        "file": PurePosixPath(saved.path).name,
        "sha256": saved.sha256,
        "byte_size": saved.byte_size,
        "mime_type": saved.mime_type,
        "width": saved.width,
        "height": saved.height,
    }


def _sent(saved: Saved) -> dict[str, Json]:
    """Return the digest and size as sent by the gateway, which are those of the file unless text
    was embedded in it."""
    sent = saved.sent or saved
    return {"sha256": sent.sha256, "byte_size": sent.byte_size}
