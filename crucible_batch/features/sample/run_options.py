"""The options of ``run`` that choose a few jobs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import Annotated

import typer

from crucible_batch.core.run_options import JOBS, FeatureOptions, NamedJob

EXAMPLES = ("crucible-batch run spring.yaml --budget 50 --sample 10",)
HELP = ""


@dataclass(frozen=True, slots=True)
class SampleOptions(FeatureOptions):
    """How many jobs are run before the others; None: all are run."""

    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            metavar="N",
            min=1,
            help="Run only the first N jobs of the manifest; the next command runs all.",
            rich_help_panel=JOBS,
        ),
    ] = None
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            metavar="N",
            min=1,
            help="Run only N jobs from all over the manifest, the same ones each time; "
            "a larger N adds to them.",
            rich_help_panel=JOBS,
        ),
    ] = None

    @property
    def fixed(self) -> Mapping[str, int]:
        given = {"first": self.first, "sample": self.sample}
        return {name: number for name, number in given.items() if number is not None}

    def faults(self) -> Iterator[str]:
        given: Mapping[str, object] = self.fixed
        for name, number in given.items():
            if not isinstance(number, int) or number < 1:
                yield f"{name} must be at least 1, or None, not {number!r}"
        if len(given) > 1:
            yield "first and sample exclude each other: give one of them"

    def chosen(self, jobs: Iterator[NamedJob]) -> Set[str] | None:
        """Return the first jobs, or those with the smallest digests.

        A job is in the sample by its own identity, so a larger sample contains a smaller one, and
        new jobs of the manifest only take the places of others.
        """
        if self.first is not None:
            return {planned.name for planned in islice(jobs, min(self.first, sys.maxsize))}
        if self.sample is not None:
            digests = ((planned.identity, planned.name) for planned in jobs)
            return {name for _, name in nsmallest(self.sample, digests)}
        return None


Options = SampleOptions
