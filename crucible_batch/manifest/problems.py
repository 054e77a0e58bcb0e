"""A bounded collection of problems, so that one mistake in 100,000 jobs stays readable."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from crucible_batch.errors import ManifestError, Problem
from crucible_batch.secret_text import mask_addresses

MAX_SHOWN = 100

_VALUE = re.compile(r"got the text .*", re.DOTALL)


def _without_secrets(problem: Problem) -> Problem:
    """Return a problem of ``notify`` without the text of values, which may be an address or a
    secret by mistake."""
    if not problem.field.startswith("notify"):
        return problem
    message = mask_addresses(_VALUE.sub("got text", problem.message))
    return dataclasses.replace(problem, field=mask_addresses(problem.field), message=message)


class ProblemCollector:
    """A collection of the first ``MAX_SHOWN`` distinct problems, with a count of the rest."""

    __slots__ = ("_seen", "omitted")

    def __init__(self) -> None:
        self._seen: dict[Problem, None] = {}
        self.omitted = 0

    def __bool__(self) -> bool:
        return bool(self._seen)

    @property
    def full(self) -> bool:
        return len(self._seen) >= MAX_SHOWN

    def add(self, problem: Problem) -> None:
        problem = _without_secrets(problem)
        if problem in self._seen:
            return
        if self.full:
            self.omitted += 1
        else:
            self._seen[problem] = None

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add(problem)

    def error(self) -> ManifestError:
        return ManifestError(tuple(self._seen), omitted=self.omitted)

    def raise_if_any(self) -> None:
        if self._seen:
            raise self.error()
