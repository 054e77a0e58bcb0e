"""The workflows that the sandbox offers, as a table.

It has the price, speed, fields and outputs of each, and the shape of its metadata.
"""

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, assert_never

from crucible_batch.sandbox.records import OutputShape, Params, Upload, invalid_params

FieldKind = Literal["text", "integer", "number", "asset"]
Look = Literal["draw", "edit", "upscale"]
# The contract leaves the form of `available_fields` open: the sandbox shows a client all the forms
# that are known.
FieldsForm = Literal["names", "objects", "mapping", "absent"]


@dataclass(frozen=True, slots=True)
class Field:
    """One param: what values it takes, within `low` and `high` where it is a number."""

    name: str
    kind: FieldKind
    default: object = None
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Workflow:
    """One way to make pictures. `service_s` is the range in which a job's running time falls."""

    workflow_id: str
    title: str
    look: Look
    price: Decimal
    service_s: tuple[float, float]
    fields: tuple[Field, ...]
    fields_form: FieldsForm
    output_count: int = 1
    mime_type: str = "image/png"

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    def metadata(self) -> dict[str, object]:
        known: dict[str, object] = {
            "title": self.title,
            "estimated_time_seconds": Decimal(str(self.service_s[1])),
            "output_count": self.output_count,
        }
        match self.fields_form:
            case "names":
                known["available_fields"] = [field.name for field in self.fields]
            case "objects":
                known["available_fields"] = [
                    {"name": field.name, **_about(field)} for field in self.fields
                ]
            case "mapping":
                known["available_fields"] = {field.name: _about(field) for field in self.fields}
            case "absent":
                pass
        return known


def _about(field: Field) -> dict[str, object]:
    about: dict[str, object] = {"type": field.kind, "default": field.default}
    if field.kind in ("integer", "number"):
        about |= {"minimum": field.low, "maximum": field.high}
    return about


def _size(name: str, default: int | None) -> Field:
    return Field(name, "integer", default, 64, 2048)


_PROMPT_TEXT = Field("prompt.text", "text", "")
_PROMPT_VALUE = Field("prompt.value", "text", "")
_NEGATIVE = Field("negative_prompt.text", "text", "")
_IMAGE = Field("image.image", "asset")
_BATCH = Field("size.batch_size", "integer", 1, 1, 1)
_SEED = Field("sampler.seed", "integer", 0, 0, 2**64 - 1)
_STEPS = Field("sampler.steps", "integer", 20, 1, 150)
_CFG = Field("sampler.cfg", "number", 7, 0, 30)
_SIZE = (_size("size.width", 512), _size("size.height", 512), _BATCH)

WORKFLOWS: tuple[Workflow, ...] = (
    Workflow(
        "zimage-base",
        "Text to image",
        "draw",
        Decimal(2),
        (0.3, 0.8),
        (_PROMPT_TEXT, _NEGATIVE, *_SIZE, _SEED, _STEPS, _CFG),
        "names",
    ),
    Workflow(
        "qwen-edit",
        "Edit an image by a prompt",
        "edit",
        Decimal(3),
        (0.4, 0.8),
        (
            _PROMPT_VALUE,
            _IMAGE,
            _size("width.value", None),
            _size("height.value", None),
            Field("strength.value", "number", Decimal("0.6"), 0, 1),
            _SEED,
            _STEPS,
        ),
        "objects",
        mime_type="image/jpeg",
    ),
    Workflow(
        "upscale-2x",
        "Enlarge an image",
        "upscale",
        Decimal(1),
        (0.3, 0.5),
        (_IMAGE, Field("scale.value", "number", 2, 1, 4)),
        "mapping",
    ),
    Workflow(
        "zimage-sheet",
        "Text to a sheet of two images",
        "draw",
        Decimal("3.5"),
        (0.5, 0.8),
        (_PROMPT_TEXT, *_SIZE, _SEED, _STEPS),
        "objects",
        output_count=2,
    ),
    Workflow(
        "zimage-sketch",
        "Text to image, with undocumented fields",
        "draw",
        Decimal("0.1"),
        (0.3, 0.4),
        (_PROMPT_TEXT, _SEED),
        "absent",
    ),
)


BY_ID = {workflow.workflow_id: workflow for workflow in WORKFLOWS}

_DEFAULT_SIDE = 512
_MAX_SIDE = 2048
_MAX_PROMPT_CHARS = 32 * 1024
# 4096 x 4096: what the renderer still draws within a second.
_MAX_OUTPUT_PIXELS = 2**24


def check(workflow: Workflow, params: Params) -> None:
    """Refuse unknown names and values outside what a field takes.

    Whether an asset may be used is not asked here.
    """
    for name, value in params.items():
        field = workflow.field(name)
        if field is None:
            known = ", ".join(f.name for f in workflow.fields)
            raise invalid_params(
                f"{workflow.workflow_id} has no field {name[:80]!r}.", f"Its fields are: {known}."
            )
        fits, wanted = _fit(field, value)
        if not fits:
            raise invalid_params(f"{name} has a value that it can't take.", f"It takes {wanted}.")


def output_shapes(
    workflow: Workflow, params: Params, source: Upload | None
) -> tuple[OutputShape, ...]:
    """Return the shape of each output. `source` is the input image, if the params name one."""
    width, height = _size_in(workflow, params, source)
    if width * height > _MAX_OUTPUT_PIXELS:
        raise invalid_params(
            f"{width} x {height} pixels are too many.", "Send a smaller image or a smaller scale."
        )
    return (OutputShape(workflow.mime_type, width, height),) * workflow.output_count


def prompt(params: Params) -> str:
    """Find the prompt under either of the names that workflows have for it."""
    return str(params.get("prompt.text") or params.get("prompt.value") or "")


def steps(workflow: Workflow, params: Params) -> int:
    """Return the number of steps requested; 1 where a workflow has no steps."""
    value = params.get("sampler.steps")
    field = workflow.field("sampler.steps")
    if field is not None and "sampler.steps" not in params:
        value = field.default
    return value if isinstance(value, int) else 1


def _fit(field: Field, value: object) -> tuple[bool, str]:
    """Return whether a field takes a value, and in words what it takes."""
    match field.kind:
        case "text":
            fits = isinstance(value, str) and len(value) <= _MAX_PROMPT_CHARS
            return fits, f"a text of at most {_MAX_PROMPT_CHARS} characters"
        case "asset":
            return isinstance(value, str) and _is_uuid(value), "the UUID of an uploaded asset"
        case "integer":
            fits = _is_number(value, int) and _is_between(field, value)
            return fits, f"an integer from {field.low} to {field.high}"
        case "number":
            fits = _is_number(value, int, float, Decimal) and _is_between(field, value)
            return fits, f"a number from {field.low} to {field.high}"
        case _:
            assert_never(field.kind)


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _is_between(field: Field, value: object) -> bool:
    return isinstance(value, int | float | Decimal) and field.low <= value <= field.high


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _size_in(workflow: Workflow, params: Params, source: Upload | None) -> tuple[int, int]:
    width, height = _DEFAULT_SIDE, _DEFAULT_SIDE
    if source is not None:
        width, height = source.width, source.height
    match workflow.look:
        case "draw":
            return (
                _side(params.get("size.width"), width),
                _side(params.get("size.height"), height),
            )
        case "edit":
            # A photo comes back in the size of the largest canvas
            shrink = min(1, _MAX_SIDE / max(width, height))
            width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
            return (
                _side(params.get("width.value"), width),
                _side(params.get("height.value"), height),
            )
        case "upscale":
            scale = Decimal(str(params.get("scale.value", 2)))
            return (int(width * scale), int(height * scale))


def _side(value: object, default: int) -> int:
    if not isinstance(value, int):
        return default
    return value
