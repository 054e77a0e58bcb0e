"""A table of cases as one test, for cases that take less time than pytest does for each test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

_MarkedCase = type(pytest.param())
_WORDS = 60
"""So many characters of its values are in the id of a case."""


class EachCase:
    """Whether each case is a test of its own, which ``-k`` selects: the option ``--cases``
    (``tests/conftest.py``).
    """

    is_a_test = False


@dataclass(frozen=True)
class _Case:
    """A case: its numbers in its tables, such as ``text-3:``, and its values by the names of the
    arguments.
    """

    numbers: tuple[str, ...]
    values: Mapping[str, Any]

    def beside(self, inner: _Case) -> _Case:
        """Return the case of two tables, of which ``inner`` stands next to the test."""
        return _Case((*inner.numbers, *self.numbers), {**inner.values, **self.values})

    @property
    def id(self) -> str:
        """The id as a test: the number, and what the values begin with."""
        return self.numbers[0] + ", ".join(map(_word, self.values.values()))[:_WORDS]


def _word(value: Any) -> str:
    """Return text for a value that is the same in each worker: other representations have
    addresses, or no order.
    """
    if isinstance(value, str | bytes | int | float | Decimal | None):
        return f"{value!r:.{_WORDS}}"
    return str(getattr(value, "__name__", type(value).__name__))


def each_case(
    names: str, cases: Iterable[Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test with each case, as ``pytest.mark.parametrize`` does, but as one test that has one
    set of fixtures.

    All cases are run. Each failure is shown with a note that has the arguments of its case, and the
    options that run it alone. Decorators can be stacked.

    The cases share the fixtures of the test, except for those with a method ``for_case(number)``,
    which returns what the case of this number gets. If all others are ``tmp_path``, each case has a
    directory of its own as well, and so finds no file of another one.
    """
    keys = [name.strip() for name in names.split(",")]
    rows = [
        _case(number, dict(zip(keys, _values(case, len(keys)), strict=True)))
        for number, case in enumerate(cases)
    ]

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        assert rows, "there are no cases"
        if EachCase.is_a_test:
            return _as_parameters(keys, rows)(test)
        inner_test, inner_rows = getattr(test, "case_table", (test, None))
        if inner_rows is None:
            return _as_one_test(inner_test, rows)
        return _as_one_test(inner_test, [row.beside(inner) for row in rows for inner in inner_rows])

    return decorate


def _values(case: Any, count: int) -> Iterable[Any]:
    if isinstance(case, _MarkedCase):
        raise TypeError(
            f"a case with marks or an id of its own needs pytest.mark.parametrize: {case!r:.200}"
        )
    values: Iterable[Any] = case if count > 1 else (case,)
    return values


def _case(number: int, values: Mapping[str, Any]) -> _Case:
    """Return a case of a table, whose number has the name of its first argument: other tables may
    be stacked on it.
    """
    return _Case((f"{next(iter(values))}-{number}:",), values)


def _as_parameters(keys: list[str], rows: list[_Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        keys, [tuple(row.values.values()) for row in rows], ids=[row.id for row in rows]
    )


def _as_one_test(test: Callable[..., Any], rows: list[_Case]) -> Callable[..., Any]:
    @functools.wraps(test)
    def run_all(**fixtures: Any) -> None:
        failures: list[BaseException] = []
        for number, row in enumerate(rows):
            with _noting(failures, row):
                test(**_for_case(fixtures, number), **row.values)
        _raise(failures, len(rows))

    @functools.wraps(test)
    async def run_all_async(**fixtures: Any) -> None:
        failures: list[BaseException] = []
        for number, row in enumerate(rows):
            with _noting(failures, row):
                await test(**_for_case(fixtures, number), **row.values)
        _raise(failures, len(rows))

    one_test: Any = run_all_async if inspect.iscoroutinefunction(test) else run_all
    signature = inspect.signature(test)
    fixtures = [
        parameter for name, parameter in signature.parameters.items() if name not in rows[0].values
    ]
    one_test.__signature__ = signature.replace(parameters=fixtures)
    one_test.case_table = (test, rows)
    return one_test


def _for_case(fixtures: dict[str, Any], number: int) -> dict[str, Any]:
    own = {
        name: value.for_case(number)
        for name, value in fixtures.items()
        if hasattr(value, "for_case")
    }
    if fixtures.keys() - own.keys() == {"tmp_path"}:
        own["tmp_path"] = directory_of_case(fixtures["tmp_path"], number)
    return fixtures | own


def directory_of_case(directory: Path, number: int) -> Path:
    """Return a directory for a case, below that of the test.

    It is the same at each call for a case.
    """
    path = directory / f"case-{number}"
    path.mkdir(exist_ok=True)
    return path


@contextmanager
def _noting(failures: list[BaseException], row: _Case) -> Iterator[None]:
    try:
        yield
    except (Exception, pytest.fail.Exception) as failure:
        words = ", ".join(f"{name}={value!r:.200}" for name, value in row.values.items())
        failure.add_note(
            f"in the case {words}\nto run it alone: --cases -k {' and '.join(row.numbers)!r}"
        )
        failures.append(failure)


def _raise(failures: list[BaseException], count: int) -> None:
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {count} cases failed", failures)
