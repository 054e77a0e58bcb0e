"""The keys ``draw``, ``count`` and ``seed`` of entries whose jobs draw lines of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from crucible_batch.errors import Problem
from crucible_batch.features import load
from crucible_batch.manifest.field_types import Identifier, given
from crucible_batch.manifest.models import Header, JobEntry
from crucible_batch.manifest.source_map import SourceNode
from crucible_batch.manifest.validation import axes_of, axis_problems

_KEY = "draw"


def _list(value: object) -> object:
    if value == []:
        raise ValueError("is an empty list")
    if value != "" and isinstance(value, str | list):
        return value
    raise ValueError("must be a list of values, or a .txt file with one a line")


_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
    ]
}
_List = Annotated[Any, BeforeValidator(_list), WithJsonSchema(_SCHEMA)]
_Lists = Annotated[dict[Identifier, _List] | None, BeforeValidator(given)]
_Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(given)]


class DrawKeys(JobEntry):
    """An entry whose jobs may draw lines of lists."""

    draw: _Lists = Field(
        None,
        description="Lists of values, or .txt files with one value a line, by the name of the"
        " template variable. Each job draws a value of each; each value is drawn equally often,"
        " give or take one. Requires `count`.",
        examples=[{"hair": "hair.txt", "pose": ["standing", "sitting"]}],
    )
    count: _Count = Field(
        None,
        description="Number of jobs that draw, in place of `repeat`; for each combination of a"
        " matrix, if there is one. They are numbered as `repeat` in templates.",
        examples=[200],
    )
    seed: int = Field(
        0,
        description="With the same seed, the same lists and `count`, jobs draw the same values.",
        examples=[7],
    )

    @property
    def reads_files(self) -> bool:
        files = (isinstance(of, str) for of in (self.draw or {}).values())
        return super().reads_files or any(files)

    @property
    def times(self) -> int:
        if self.draw is None or self.count is None:
            return super().times
        return self.count

    def drawn(self, context: Any, site: SourceNode, faults: Any) -> Sequence[Mapping[str, Any]]:
        if self.draw is None:
            return super().drawn(context, site, faults)
        drawn_values = load("draw.lists:drawn_values")
        values: Sequence[Mapping[str, Any]] = drawn_values(self, context, site, faults)
        return values

    def problems(self, header: Header, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(header, site)
        if self.draw is None:
            yield from self._without_draw(site)
            return
        if not self.draw:
            yield site.problem((_KEY,), "is empty; name a list, or remove the key")
        if self.count is None:
            yield site.problem(
                (_KEY,), "`draw` needs `count`, the number of jobs", key=True, hint="add count: 10"
            )
        yield from self._beside_others(site)
        lists = {name: [] if isinstance(of, str) else of for name, of in self.draw.items()}
        yield from axis_problems(lists, header.vars, site, _KEY)
        axes = axes_of(self, header.matrix)
        for name in self.draw:
            for where, others in (("matrix", axes), ("zip", self.zip)):
                if name in others:
                    message = f"the axis {name!r} is in both `draw` and `{where}`"
                    hint = "give one of them another name"
                    yield site.problem((_KEY, name), message, key=True, hint=hint)

    def _without_draw(self, site: SourceNode) -> Iterator[Problem]:
        if self.count is not None:
            yield site.problem(
                ("count",),
                "`count` needs `draw` in the same entry",
                key=True,
                hint="without draws, several images of one job are `repeat`",
            )
        if "seed" in self.model_fields_set:
            yield site.problem(
                ("seed",),
                "`seed` needs `draw` in the same entry",
                key=True,
                hint="the seed of a workflow is one of its `params`",
            )

    def _beside_others(self, site: SourceNode) -> Iterator[Problem]:
        if "repeat" in self.model_fields_set:
            yield site.problem(
                ("repeat",),
                "an entry can't have both `draw` and `repeat`",
                key=True,
                hint="`count` is the number of its jobs",
            )
        if self.foreach is not None:
            yield site.problem(
                ("foreach",),
                "an entry can't have both `draw` and `foreach`",
                key=True,
                hint="draw from a list of what is in the rows, or put what is drawn into the table",
            )
        if self.is_derived:
            yield site.problem(
                (_KEY,),
                "an entry whose jobs are made from outputs of others can't draw",
                key=True,
                hint="let the jobs of the entry above draw; `source.axes` has what they drew",
            )


KEYS = (DrawKeys,)
