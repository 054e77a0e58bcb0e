"""A bounded collection of problems, so that one mistake in 100,000 jobs stays readable."""

from __future__ import annotations

from collections.abc import Iterable

from crucible_batch.errors import ManifestError, Problem

MAX_SHOWN = 100


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
