"""A table of cases as one test, for cases that take less time than what pytest does for each test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def each_case(names: str, cases: Iterable[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test with each case, as ``pytest.mark.parametrize`` does, but as one test that has one set of fixtures.

    All cases are run. Each failure is shown with a note that has the arguments of its case. Decorators can be stacked.
    """
    keys = [name.strip() for name in names.split(",")]
    rows = [dict(zip(keys, case if len(keys) > 1 else (case,), strict=True)) for case in cases]

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        inner_test, inner_rows = getattr(test, "case_table", (test, [{}]))
        return _as_one_test(inner_test, [{**inner, **row} for row in rows for inner in inner_rows])

    return decorate


def _as_one_test(test: Callable[..., Any], rows: list[dict[str, Any]]) -> Callable[..., Any]:
    assert rows, "there are no cases"

    @functools.wraps(test)
    def run_all(**fixtures: Any) -> None:
        failures: list[BaseException] = []
        for row in rows:
            with _noting(failures, row):
                test(**fixtures, **row)
        _raise(failures, len(rows))

    @functools.wraps(test)
    async def run_all_async(**fixtures: Any) -> None:
        failures: list[BaseException] = []
        for row in rows:
            with _noting(failures, row):
                await test(**fixtures, **row)
        _raise(failures, len(rows))

    one_test: Any = run_all_async if inspect.iscoroutinefunction(test) else run_all
    signature = inspect.signature(test)
    fixtures = [parameter for name, parameter in signature.parameters.items() if name not in rows[0]]
    one_test.__signature__ = signature.replace(parameters=fixtures)
    one_test.case_table = (test, rows)
    return one_test


@contextmanager
def _noting(failures: list[BaseException], row: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except (Exception, pytest.fail.Exception) as failure:
        failure.add_note("in the case " + ", ".join(f"{name}={value!r:.200}" for name, value in row.items()))
        failures.append(failure)


def _raise(failures: list[BaseException], count: int) -> None:
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {count} cases failed", failures)
