"""Whether a workflow takes the params that it is sent, and how large the pictures come out that they ask for."""

import uuid
from decimal import Decimal
from typing import assert_never

from crucible_batch.sandbox.records import OutputShape, Params, Upload
from crucible_batch.sandbox.refused import invalid_params
from crucible_batch.sandbox.workflows import Field, Workflow

_DEFAULT_SIDE = 512
_MAX_SIDE = 2048
_MAX_PROMPT_CHARS = 32 * 1024
# 4096 x 4096: what the renderer still draws within a second.
_MAX_OUTPUT_PIXELS = 2**24


def check(workflow: Workflow, params: Params) -> None:
    """Refuse unknown names and values outside what a field takes. Whether an asset may be used is not asked here."""
    for name, value in params.items():
        field = workflow.field(name)
        if field is None:
            known = ", ".join(f.name for f in workflow.fields)
            raise invalid_params(f"{workflow.workflow_id} has no field {name[:80]!r}.", f"Its fields are: {known}.")
        _check_value(field, value)


def output_shapes(workflow: Workflow, params: Params, source: Upload | None) -> tuple[OutputShape, ...]:
    """Say what the outputs will be. `source` is the input image, if the params name one."""
    width, height = _size(workflow, params, source)
    if width * height > _MAX_OUTPUT_PIXELS:
        raise invalid_params(f"{width} x {height} pixels are too many.", "Send a smaller image or a smaller scale.")
    return (OutputShape(workflow.mime_type, width, height),) * workflow.output_count


def prompt(params: Params) -> str:
    """Find the prompt under either of the names that workflows have for it."""
    return str(params.get("prompt.text") or params.get("prompt.value") or "")


def steps(workflow: Workflow, params: Params) -> int:
    """Say how many steps are asked for; 1 where a workflow has none."""
    field = workflow.field("sampler.steps")
    value = params.get("sampler.steps", field.default if field else 1)
    return value if isinstance(value, int) else 1


def _check_value(field: Field, value: object) -> None:
    fits, wanted = _judge(field, value)
    if not fits:
        raise invalid_params(f"{field.name} has a value that it can't take.", f"It takes {wanted}.")


def _judge(field: Field, value: object) -> tuple[bool, str]:
    """Tell whether a field takes a value, and in words what it takes."""
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
            fits = _is_number(value, int, Decimal) and _is_between(field, value)
            return fits, f"a number from {field.low} to {field.high}"
        case _:
            assert_never(field.kind)


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _is_between(field: Field, value: object) -> bool:
    return isinstance(value, int | Decimal) and field.low <= value <= field.high


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _size(workflow: Workflow, params: Params, source: Upload | None) -> tuple[int, int]:
    width, height = (source.width, source.height) if source else (_DEFAULT_SIDE, _DEFAULT_SIDE)
    match workflow.look:
        case "draw":
            return (_side(params.get("size.width"), width), _side(params.get("size.height"), height))
        case "edit":
            shrink = min(1, _MAX_SIDE / max(width, height))  # a photo comes back in the size of the largest canvas
            width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
            return (_side(params.get("width.value"), width), _side(params.get("height.value"), height))
        case "upscale":
            scale = Decimal(str(params.get("scale.value", 2)))
            return (int(width * scale), int(height * scale))


def _side(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
