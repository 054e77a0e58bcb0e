"""The key ``after`` of manifests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from crucible_batch.manifest.field_types import PROGRAM_SCHEMA, Duration, OrList, Text, given
from crucible_batch.manifest.models import Header, Part


class AfterCommand(Part):
    """A program that is run for each saved output. A list is its `run`."""

    run: list[Text] = Field(
        min_length=1,
        description=(
            "Program and arguments, run in the manifest's folder for each output. It reads the"
            " output's file and job as JSON from stdin. After any exit code but 0, the next run"
            " tries again."
        ),
        examples=[["./post.sh"]],
    )
    timeout: Duration = Field(
        None, description="Time after which the program is stopped; 60 s by default."
    )


class AfterKeys(Header):
    """A header that may have a program for each output."""

    after: Annotated[
        Annotated[AfterCommand, OrList("run", PROGRAM_SCHEMA)] | None, BeforeValidator(given)
    ] = Field(
        None,
        description="A program that is run for each saved output; `run` needs --allow-command.",
        examples=[["./post.sh"]],
    )

    def programs(self) -> Iterator[str]:
        yield from super().programs()
        if self.after is not None:
            yield self.after.run[0]


KEYS = (AfterKeys,)


def after_of(header: Header) -> AfterCommand | None:
    """Return the program of a manifest; None without one."""
    assert isinstance(header, AfterKeys)
    return header.after
