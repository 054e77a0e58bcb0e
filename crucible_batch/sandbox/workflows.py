"""The workflows that the sandbox offers, as a table: price, speed, fields, outputs, and the shape of their metadata."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

FieldKind = Literal["text", "integer", "number", "asset"]
Look = Literal["draw", "edit", "upscale"]
# The contract leaves the form of `available_fields` open: the sandbox shows a client all the forms that are known.
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
        """Find a field by its name."""
        return next((field for field in self.fields if field.name == name), None)

    def metadata(self) -> dict[str, object]:
        """Describe the workflow as its metadata operation does."""
        known: dict[str, object] = {
            "title": self.title,
            "estimated_time_seconds": Decimal(str(self.service_s[1])),
            "output_count": self.output_count,
        }
        match self.fields_form:
            case "names":
                known["available_fields"] = [field.name for field in self.fields]
            case "objects":
                known["available_fields"] = [{"name": field.name, **_about(field)} for field in self.fields]
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
