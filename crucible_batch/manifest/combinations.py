"""Combinations of the values of an entry's axes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crucible_batch.manifest.names import slug
from crucible_batch.manifest.template_filters import text_of


@dataclass(frozen=True, slots=True)
class Combination:
    """One value of each axis, as template variables and as text.

    ``suffix`` is appended to the job's name.
    """

    values: Mapping[str, Any]
    texts: Mapping[str, str]
    suffix: str

    def beside(self, values: Mapping[str, Any]) -> Combination:
        """Return the combination with the values of further axes, which names don't have."""
        texts = {name: text_of(value) for name, value in values.items()}
        return Combination({**self.values, **values}, {**self.texts, **texts}, self.suffix)


_NONE = Combination({}, {}, "")


class Combinations:
    """The combinations of one entry; may be iterated again, once for each row.

    ``named`` are the axes that the name's template uses; the values of all others are appended to
    the name.
    """

    def __init__(
        self,
        matrix: Mapping[str, list[Any]],
        zipped: Mapping[str, list[Any]],
        named: Collection[str],
    ) -> None:
        self._names = (*matrix, *zipped)
        self._matrix = [
            _choices(values, suffixed=name not in named) for name, values in matrix.items()
        ]
        columns = [_choices(values, suffixed=name not in named) for name, values in zipped.items()]
        self._zipped: list[tuple[tuple[Any, str, str], ...]] = [()]
        if columns:
            self._zipped = list(zip(*columns, strict=True))

    def __iter__(self) -> Iterator[Combination]:
        if not self._names:
            yield _NONE
            return
        for chosen in itertools.product(*self._matrix):
            for together in self._zipped:
                choices = (*chosen, *together)
                yield Combination(
                    dict(zip(self._names, (value for value, _, _ in choices), strict=True)),
                    dict(zip(self._names, (text for _, text, _ in choices), strict=True)),
                    "".join(suffix for _, _, suffix in choices),
                )


NO_AXES = Combinations({}, {}, ())


def _choices(values: list[Any], *, suffixed: bool) -> list[tuple[Any, str, str]]:
    texts = [text_of(value) for value in values]
    return [
        (value, text, f"-{slug(text)}" if suffixed else "")
        for value, text in zip(values, texts, strict=True)
    ]
