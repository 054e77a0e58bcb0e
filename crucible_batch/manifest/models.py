"""Pydantic models of a manifest, version 1: types and known keys. The JSON Schema is made from them.

The models are the shape alone. What relates one field to another is in ``validation``, what needs files or templates in
``expand``. Messages of pydantic never reach the author: ``validation`` words them for the manifest.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

# A double keeps this many decimal digits; more in the YAML would be rounded silently.
_EXACT_DIGITS = 15
_MAX_CREDITS = Decimal(10**12)


def _credits(value: object) -> Decimal:
    """Read credits exactly, from a YAML number or from decimal text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("credits", 'must be a number of credits, such as 250 or "12.5"')
    text = value if isinstance(value, str) else repr(value)
    try:
        amount = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise PydanticCustomError("credits", 'must be a number of credits, such as 250 or "12.5"')
    if not 0 < amount <= _MAX_CREDITS:
        raise PydanticCustomError("credits", "must be more than 0 and at most 10^12 credits")
    digits = amount.normalize().as_tuple().digits
    if isinstance(value, float) and len(digits) > _EXACT_DIGITS:
        raise PydanticCustomError("credits", "has too many digits for a number; put it in quotes")
    return amount


def _given(value: object) -> object:
    """Refuse a key without a value: a key that is left out has a default, an empty one is a mistake."""
    if value is None:
        raise PydanticCustomError("empty", "is empty; give it a value or drop the key")
    return value


def _version(value: object) -> object:
    """Refuse ``true``, which equals 1 in Python."""
    if isinstance(value, bool):
        raise PydanticCustomError("version", "must be 1")
    return value


_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
_CREDITS_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$"},
    ]
}

Credits: TypeAlias = Annotated[Decimal, BeforeValidator(_credits), WithJsonSchema(_CREDITS_SCHEMA)]
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
Identifier: TypeAlias = Annotated[str, StringConstraints(pattern=_IDENTIFIER, max_length=100)]
AxisValue: TypeAlias = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Axes: TypeAlias = dict[Identifier, Annotated[list[AxisValue], Field(min_length=1)]]
Parameters: TypeAlias = dict[Text, Any]
OptionalText: TypeAlias = Annotated[Text | None, BeforeValidator(_given)]
OptionalCredits: TypeAlias = Annotated[Credits | None, BeforeValidator(_given)]
OptionalAxes: TypeAlias = Annotated[Axes | None, BeforeValidator(_given)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=False)


class Fields(_Model):
    """Which parameters of the workflow take the prompt and the image, where the usual names don't fit."""

    prompt: OptionalText = Field(
        None, description="The parameter that `prompt:` fills.", examples=["prompt.text", "positive.value"]
    )
    image: OptionalText = Field(
        None, description="The parameter that `image:` fills.", examples=["image.image", "source.image"]
    )


class WorkflowDefaults(_Model):
    """Defaults for the jobs on one workflow."""

    params: Parameters = Field(
        default_factory=dict, description="Parameters for jobs on this workflow; a job's own win."
    )
    fields: Fields = Field(default_factory=Fields, description="Where this workflow takes the prompt and the image.")


class Budget(_Model):
    """How much may be spent."""

    credits: OptionalCredits = Field(
        None,
        description="Hard limit: uploads and jobs together, over all runs in one run directory.",
        examples=[250, "12.5"],
    )
    max_credits_per_job: OptionalCredits = Field(
        None,
        description="Ceiling on the price of one job. It is held for each job until the gateway names the price, and"
        " a price above it ends the buying.",
        examples=[4],
    )
    max_credits_per_upload: OptionalCredits = Field(
        None, description="The same for the upload of one input image.", examples=[1]
    )


class Output(_Model):
    """Where outputs are written, relative to the run directory."""

    path: Text = Field(
        "{name}/{index}{ext}",
        description="Pattern of {name}, {workflow}, {index} and {ext}; / makes folders.",
        examples=["{name}/{index}{ext}", "{workflow}/{name}-{index}{ext}"],
    )


class Retry(_Model):
    """What is done about a job that the gateway reports failed."""

    attempts: int = Field(3, ge=1, le=100, description="Attempts at one job, the first included.")
    never: list[Text] = Field(
        default_factory=list, description="Error codes that are never tried again.", examples=[["NSFW_REJECTED"]]
    )


class Assets(_Model):
    """What becomes of uploaded input images."""

    cleanup: Literal["never", "on_success"] = Field(
        "never",
        description="on_success: once every job has succeeded, delete what this run uploaded, for its rebate.",
    )


class Provenance(_Model):
    """Where it is written down what made an output."""

    sidecar: bool = Field(True, description="A small file of JSON beside each output, such as 0.png.json.")
    embed: bool = Field(
        False, description="Also in the file itself: a PNG's text, a JPEG's or a WebP's XMP. No pixel is touched."
    )


class JobEntry(_Model):
    """One entry of `jobs`: a job, or many by matrix, zip, foreach and repeat."""

    name: Text = Field(
        description="Names the job and its outputs; a template. Axes that it doesn't name are appended.",
        examples=["hero", "sku-{{ row.sku }}"],
    )
    prompt: OptionalText = Field(
        None,
        description="The prompt; a template. @path reads it from a file, @@ stands for a literal @.",
        examples=["A {{ style }} portrait of a lighthouse", "@prompts/hero.txt"],
    )
    image: OptionalText = Field(
        None, description="Input image, relative to the manifest; a template.", examples=["photos/{{ row.sku }}.jpg"]
    )
    images: dict[Text, Text] = Field(
        default_factory=dict,
        description="More input images by parameter name.",
        examples=[{"mask.image": "masks/hero.png"}],
    )
    workflow: OptionalText = Field(
        None, description="The workflow_id, where it isn't the manifest's default; a template."
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters of this job. A text that is one {{ expression }} keeps the type of its value.",
        examples=[{"sampler.seed": "{{ row.seed | int }}", "size.width": 1024}],
    )
    matrix: OptionalAxes = Field(
        None,
        description="Every combination, the last axis fastest. Replaces the manifest's matrix; {} opts out.",
        examples=[{"style": ["noir", "watercolor"]}],
    )
    zip: Axes = Field(
        default_factory=dict,
        description="Lists of equal length, taken together.",
        examples=[{"photo": ["a.jpg", "b.jpg"], "title": ["Alps", "Baltic"]}],
    )
    foreach: OptionalText = Field(
        None,
        description="A .csv or .jsonl file, or a glob of files: one job a row, as `row` in templates.",
        examples=["products.csv", "photos/*.jpg"],
    )
    repeat: int = Field(1, ge=1, description="How many times the same job is wanted; `repeat` in templates, from 1.")
    fields: Fields = Field(
        default_factory=Fields, description="Where the workflow takes the prompt and the image, for this job."
    )


class Header(_Model):
    """A manifest without its jobs, which are checked one by one."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(description="The version of the manifest's form.")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)] = Field(
        description="Names the run and its directory.", examples=["spring-campaign"]
    )
    workflow: OptionalText = Field(
        None, description="The default workflow_id; a job may name its own.", examples=["zimage-base"]
    )
    params: Parameters = Field(
        default_factory=dict,
        description="Parameters for jobs on the default workflow.",
        examples=[{"size.width": 1024}],
    )
    workflows: dict[Text, WorkflowDefaults] = Field(
        default_factory=dict, description="Parameters and fields by workflow_id."
    )
    budget: Budget = Field(
        default_factory=Budget,
        description="How much may be spent; with a budget, `run` needs no other consent.",
    )
    vars: dict[Identifier, Any] = Field(
        default_factory=dict,
        description="Variables for templates; `--var name=value` wins.",
        examples=[{"brand": "Acme"}],
    )
    matrix: Axes = Field(default_factory=dict, description="Axes of every job that has no matrix of its own.")
    output: Output = Field(default_factory=Output, description="Where outputs are written.")
    retry: Retry = Field(default_factory=Retry, description="What is done about failed jobs.")
    assets: Assets = Field(default_factory=Assets, description="What becomes of uploaded input images.")
    provenance: Provenance = Field(
        default_factory=Provenance, description="Where it is written down what made an output."
    )
    duplicates: Literal["error", "once", "each"] = Field(
        "error", description="Two jobs that ask for the very same thing: refuse, make one, or make each."
    )


class ManifestV1(Header):
    """A crucible-batch manifest: prompts and input images, run as jobs on an image gateway."""

    jobs: list[JobEntry] = Field(min_length=1, description="The jobs wanted, in order.")
