"""The sidecar's model: the format of ``0.png.json``, version 1, for its JSON Schema. Fields are added, never renamed.

``domain/provenance.py`` makes the content; a test validates it with this model.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

_SHA256 = "^[0-9a-f]{64}$"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Origin(_Model):
    """The manifest that asked for it."""

    name: str
    sha256: str = Field(pattern=_SHA256, description="Of the manifest's bytes.")


class UsedImage(_Model):
    """An input image, by its bytes."""

    sha256: str = Field(pattern=_SHA256)
    filename: str


class OutputFile(_Model):
    """The file beside which the sidecar stands."""

    index: int = Field(description="Which of the job's outputs, from 0.")
    file: str = Field(description="Its name in this folder.")
    sha256: str = Field(pattern=_SHA256, description="Of the file as it is on disk.")
    byte_size: int
    mime_type: str
    width: int
    height: int


class SentFile(_Model):
    """What the gateway sent: the file itself, unless the provenance was embedded in it."""

    sha256: str = Field(pattern=_SHA256)
    byte_size: int


class Sidecar(_Model):
    """What made an output."""

    schema_version: Literal[1]
    tool: Literal["crucible-batch"]
    tool_version: str
    manifest: Origin
    run_id: str
    name: str = Field(description="The job's, as the manifest has it.")
    axes: dict[str, str] = Field(description="Its place in the matrix.")
    repeat: int = Field(description="Which of the repeats, from 1.")
    workflow_id: str
    prompt: str | None
    params: dict[str, JsonValue] = Field(description="As they were sent, without images.")
    images: dict[str, UsedImage] = Field(description="Input images by their parameters.")
    job_id: str | None = Field(description="The gateway's id.")
    idempotency_key: str
    attempt: int = Field(description="Which attempt made it, from 1.")
    credits: str = Field(description="What the attempt cost, as decimal text.")
    output: OutputFile
    sent: SentFile
    saved_at: str = Field(description="RFC 3339, in UTC.")


def sidecar_schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Sidecar.model_json_schema(),
        "title": "crucible-batch sidecar, version 1",
    }
