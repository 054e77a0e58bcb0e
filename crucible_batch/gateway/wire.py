"""The wire models: one class for each schema of contract 1.0.0, with the same name.

Fields that money or identity depends on (ids, credits, ``success``) and the shape of lists are
validated strictly. Informational fields are lenient: null, absence or a wrong type becomes None,
empty text, ``[]`` or ``{}``. Unknown fields are kept, but ``repr`` shows neither them nor signed
URLs and tokens. Timestamps stay text: no decision depends on them, and a malformed one must not
fail a job that is paid for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from crucible_batch.core.credits import Credits, parse_credits, parse_figure
from crucible_batch.core.redaction import clean
from crucible_batch.gateway.json_text import UnreadableError, read_json
from crucible_batch.gateway.url_guard import ID_PATTERN

_PLAIN_AMOUNT = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")


def _plain(value: object) -> object:
    """Accept decimal text as well as numbers.

    Database drivers return exact numbers as text.
    """
    if isinstance(value, str) and not _PLAIN_AMOUNT.fullmatch(value):
        raise ValueError("not an amount of credits")
    return value


def _amount(value: object) -> Credits:
    return parse_credits(_plain(value))


def _signed_amount(value: object) -> Credits:
    if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, Decimal | int) and not isinstance(value, bool) and value < 0:
        # copy_abs and copy_negate keep all digits; abs() and negation round to the context's 28.
        return _amount(Decimal(value).copy_abs()).copy_negate()
    return _amount(value)


def _figure(value: object) -> Credits:
    return parse_figure(_plain(value))


def _whole(value: object) -> object:
    """Convert an integral Decimal such as 5.0 to an int.

    A very large one, such as 1e999999999, stays as it is: its digits would fill the memory.
    """
    if not isinstance(value, Decimal):
        return value
    if not value.is_finite() or value.adjusted() >= 18:
        return value
    if value != int(value):
        return value
    return int(value)


def _whole_or_none(value: object) -> int | None:
    whole = _whole(value)
    if isinstance(whole, bool) or not isinstance(whole, int):
        return None
    return whole


def _lenient(kind: type, default: object) -> BeforeValidator:
    """Replace a value of another type by ``default``."""
    return BeforeValidator(lambda value: value if isinstance(value, kind) else default)


def _list_if_null(value: object) -> object:
    if value is None:
        return []
    return value


def _only(expected: bool) -> BeforeValidator:
    """Accept only ``expected`` itself: pydantic's ``Literal[True]`` accepts 1 as well."""

    def check(value: object) -> object:
        if value is not expected:
            raise ValueError(f"not {str(expected).lower()}")
        return value

    return BeforeValidator(check)


Yes = Annotated[Literal[True], _only(True)]
No = Annotated[Literal[False], _only(False)]
Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
Amount = Annotated[Credits, BeforeValidator(_amount)]
SignedAmount = Annotated[Credits, BeforeValidator(_signed_amount)]
Figure = Annotated[Credits, BeforeValidator(_figure)]
Index = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Word = Annotated[str, _lenient(str, "")]
MaybeText = Annotated[str | None, _lenient(str, None)]
Count = Annotated[int | None, BeforeValidator(_whole_or_none)]
JsonObject = Annotated[dict[str, object], _lenient(dict, {})]


class WireModel(BaseModel):
    """The base class of the wire models. Frozen; unknown fields are in ``model_extra``."""

    # hide_input_in_errors: an input may be a signed URL.
    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        for name, field in type(self).model_fields.items():
            if field.repr:
                yield name, getattr(self, name)


D = TypeVar("D", bound=WireModel)


class SuccessResponse(WireModel, Generic[D]):
    """The envelope of every successful response."""

    success: Yes
    data: D
    request_id: MaybeText = None


class ApiFailure(WireModel):
    """An error response. Only ``code`` is required; ``success`` may be absent but not true."""

    success: No = False
    code: Annotated[str, StringConstraints(min_length=1)]
    error: Word = ""
    hint: MaybeText = None
    request_id: MaybeText = None


class HealthData(WireModel):
    """The data of ``HealthSuccessResponse``, which has no name in the contract."""

    status: Word = ""


class CreditLedgerEntry(WireModel):
    """One entry of the account's ledger. ``amount`` may be negative."""

    id: Word = ""
    job_id: MaybeText = None
    entry_type: Word = ""
    status: Word = ""
    amount: SignedAmount
    description: MaybeText = None
    created_at: Word = ""


class CreditsData(WireModel):
    """The account's credits. They may be negative, and are rounded to twelve places."""

    balance: Figure
    reserved: Figure
    available: Figure
    recent_entries: Annotated[list[CreditLedgerEntry], BeforeValidator(_list_if_null)] = []


class WorkflowSummary(WireModel):
    workflow_id: str
    updated_at: Word = ""


class WorkflowListData(WireModel):
    workflows: list[WorkflowSummary]


class WorkflowMetadataData(WireModel):
    workflow_id: str
    metadata: JsonObject = {}


class AssetCreateRequest(WireModel):
    """The request for an upload intent.

    Validated before it is sent, so that an invalid one costs nothing.
    """

    model_config = ConfigDict(extra="forbid")

    mime_type: Annotated[str, StringConstraints(pattern=r"^image/[!-~]+$", max_length=128)]
    byte_size: Annotated[int, Field(ge=1)]
    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    metadata: dict[str, object] | None = None


class AssetDescriptor(WireModel):
    """An asset. ``status`` may be any text; ``byte_size`` is None if it is absent or invalid."""

    asset_id: Id
    status: Word = ""
    mime_type: Word = ""
    byte_size: Count = None
    bucket: Word = ""
    object_path: Word = ""
    original_filename: MaybeText = None
    metadata: JsonObject = {}
    created_at: Word = ""
    upload_expires_at: Word = ""
    download_url: MaybeText = Field(default=None, repr=False)


class AssetCreateData(WireModel):
    """An upload intent. No other response has ``upload_url``."""

    asset_id: Id
    bucket: Word = ""
    object_path: Word = ""
    upload_url: str = Field(repr=False, min_length=1)
    upload_token: Word = Field(default="", repr=False)
    upload_expires_at: Word = ""
    credits_charged: Amount


class AssetListData(WireModel):
    assets: list[AssetDescriptor]


class AssetDeleteData(WireModel):
    asset_id: Id
    deleted: Yes
    credit_rebate: Amount


class GenerateRequest(WireModel):
    """The request for a job. ``idempotency_key`` is optional in the contract but required here."""

    model_config = ConfigDict(extra="forbid")

    workflow_id: Annotated[str, StringConstraints(min_length=1)]
    params: dict[str, object]
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class GenerateData(WireModel):
    job_id: Id
    status: Word = ""
    requested_credits: Amount


class JobOutput(WireModel):
    """One output of a job.

    Only ``output_index`` is required; the rest is lenient, and ``url`` may be null.
    """

    id: Word = ""
    job_id: MaybeText = None
    output_index: Index
    storage_provider: Word = ""
    bucket: MaybeText = None
    path: MaybeText = None
    url: MaybeText = Field(default=None, repr=False)
    mime_type: MaybeText = None
    width: Count = None
    height: Count = None
    metadata: JsonObject = {}
    created_at: Word = ""


class JobData(WireModel):
    """A job. ``status`` may be any text; it is empty if absent."""

    job_id: Id
    status: Word = ""
    workflow_id: Word = ""
    requested_credits: Amount
    error_code: MaybeText = None
    error_message: MaybeText = None
    outputs: Annotated[list[JobOutput], BeforeValidator(_list_if_null)] = []

    @model_validator(mode="after")
    def _outputs_are_its_own(self) -> Self:
        for output in self.outputs:
            if output.job_id is not None and output.job_id.lower() != self.job_id.lower():
                raise ValueError("an output of another job")
        return self


HealthSuccessResponse = SuccessResponse[HealthData]
CreditsSuccessResponse = SuccessResponse[CreditsData]
WorkflowListSuccessResponse = SuccessResponse[WorkflowListData]
WorkflowMetadataSuccessResponse = SuccessResponse[WorkflowMetadataData]
AssetCreateSuccessResponse = SuccessResponse[AssetCreateData]
AssetListSuccessResponse = SuccessResponse[AssetListData]
AssetGetSuccessResponse = SuccessResponse[AssetDescriptor]
AssetDeleteSuccessResponse = SuccessResponse[AssetDeleteData]
GenerateSuccessResponse = SuccessResponse[GenerateData]
JobSuccessResponse = SuccessResponse[JobData]

M = TypeVar("M", bound=WireModel)


def read_answer(body: bytes, model: type[M]) -> M:
    """Parse a response's body.

    Raises ``UnreadableError`` if it is not JSON or not valid for the model.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise UnreadableError("not a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UnreadableError(first_problem(error)) from None


def read_failure(body: bytes) -> ApiFailure | None:
    """Parse an error response's body; None if it can't be read as one."""
    try:
        return read_answer(body, ApiFailure)
    except UnreadableError:
        return None


def first_problem(error: ValidationError) -> str:
    """Return the first problem as text, with the field's name but without its value."""
    problem = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"]
    if field:
        message = f"{field}: {message}"
    return clean(message, 200)
