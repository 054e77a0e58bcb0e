"""The key ``checks`` of manifests and of their entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from crucible_batch.manifest.field_types import PROGRAM_SCHEMA, Duration, OrList, Text, given
from crucible_batch.manifest.models import Header, JobEntry, Part

Action = Literal["flag", "reject", "fail"]
_THEN = "What happens to an output that does not pass: `flag` marks it, `reject` rejects it, `fail`\
 counts its job as failed."


def _edges(value: object) -> object:
    """Refuse all but two lengths in pixels."""
    edges = value if isinstance(value, list) else []
    if len(edges) == 2 and all(type(edge) is int and 1 <= edge <= 100_000 for edge in edges):
        return value
    raise ValueError("must be [width, height] in pixels, such as [768, 768]")


_EDGES_SCHEMA = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 100_000},
    "minItems": 2,
    "maxItems": 2,
}


class SizeCheck(Part):
    """Checks the size of outputs."""

    min: Annotated[list[int], BeforeValidator(_edges), Field(json_schema_extra=_EDGES_SCHEMA)] = (
        Field(description="Least width and height in pixels.", examples=[[768, 768]])
    )
    then: Action = Field("flag", description=_THEN)


class CommandCheck(Part):
    """A program that judges outputs. A list is its `run`."""

    run: list[Text] = Field(
        min_length=1,
        description=(
            "Program and arguments, run in the manifest's folder for each output. It reads the"
            " output's file and job as JSON from stdin. Exit code 0 accepts the output, 10 rejects"
            " it; any other is shown, and rejects nothing."
        ),
        examples=[["./judge.sh"]],
    )
    then: Action = Field("flag", description=_THEN)
    timeout: Duration = Field(
        None, description="Time after which the program is stopped; 60 s by default."
    )


class Checks(Part):
    """Checks of the outputs that are saved. Checks run beside the jobs, and delay no purchase."""

    blank: Annotated[Action | None, BeforeValidator(given)] = Field(
        None,
        description="Pictures of one colour, apart from noise and a thin frame: flag, reject or"
        " fail.",
        examples=["flag", "reject"],
    )
    duplicate: Annotated[Action | None, BeforeValidator(given)] = Field(
        None,
        description="Copies of another output of the run, however they are scaled and compressed:"
        " flag, reject or fail. Of two copies, the later one in the manifest's order is meant.",
        examples=["flag"],
    )
    size: Annotated[SizeCheck | None, BeforeValidator(given)] = Field(
        None, description="Outputs that are too small."
    )
    command: Annotated[
        Annotated[CommandCheck, OrList("run", PROGRAM_SCHEMA)] | None, BeforeValidator(given)
    ] = Field(
        None,
        description="A program that judges each output; `run` needs --allow-command.",
        examples=[["./judge.sh"]],
    )


class CheckKeys(Header):
    """A header that may have checks for the outputs of all jobs."""

    checks: Checks = Field(
        default_factory=Checks, description="Checks of the outputs that are saved."
    )

    def programs(self) -> Iterator[str]:
        yield from super().programs()
        if self.checks.command is not None:
            yield self.checks.command.run[0]


class EntryCheckKeys(JobEntry):
    """An entry that may have checks of its own."""

    checks: Annotated[Checks | None, BeforeValidator(given)] = Field(
        None,
        description="Checks of the outputs of this entry, in place of those of the manifest; {}"
        " turns them off.",
    )

    def programs(self) -> Iterator[str]:
        yield from super().programs()
        if self.checks is not None and self.checks.command is not None:
            yield self.checks.command.run[0]


KEYS = (CheckKeys, EntryCheckKeys)


def has_own_checks(job: JobEntry) -> bool:
    """Whether an entry has checks in place of those of the manifest."""
    assert isinstance(job, EntryCheckKeys)
    return job.checks is not None


def checks_of(header: Header, job: JobEntry) -> Checks:
    """Return the checks of the outputs of an entry."""
    assert isinstance(header, CheckKeys)
    assert isinstance(job, EntryCheckKeys)
    return header.checks if job.checks is None else job.checks
