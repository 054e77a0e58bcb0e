"""The page that compares two runs: their jobs side by side by name, with what they were asked for differently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice, takewhile
from pathlib import PurePath

from crucible_batch.api.watching import Snapshot, Watch
from crucible_batch.domain.credits import format_credits
from crucible_batch.report import JobRow
from crucible_batch.report.html.cards import shown
from crucible_batch.view.pages import name_of, state_text, thumbnail_address, tone_of
from crucible_batch.view.runs import ShownRun
from crucible_batch.view.templating import Page, assets_of, template

_MOST_JOBS = 20_000
"""The number of jobs of each run that are compared, the first ones."""
_PAGE = 100
"""The number of jobs on one page."""
_LONGEST = 20_000
"""The number of characters of a value that are compared."""
_CONTEXT, _MARKED = 100, 400
"""The number of characters that are shown of what two values have in common on each side, and of what differs."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_PROMPT_FIELDS = ("prompt.text", "prompt.value", "prompt")


@dataclass(frozen=True, slots=True)
class ValueExcerpt:
    """A value as text, in three parts: only ``marked`` differs from the other run's."""

    before: str
    marked: str
    after: str


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field that two jobs were asked for differently; a side is None if it does not have the field."""

    field: str
    first: ValueExcerpt | None
    second: ValueExcerpt | None


@dataclass(frozen=True, slots=True)
class PairedJob:
    """A job of one run, as much of it as a comparison shows. ``place`` is its position in the run, from 0."""

    place: int
    status: str
    credits: Decimal
    error: str | None
    fields: Mapping[str, str]
    sha256: str | None = None
    width: int = 4
    height: int = 3

    @classmethod
    def of(cls, place: int, row: JobRow) -> PairedJob:
        """Take from a row of the report what a comparison shows."""
        job = cls(place, row.status, row.credits, None if row.error is None else row.error.code, dict(_fields(row)))
        if not row.outputs:
            return job
        picture = row.outputs[0]
        return replace(job, sha256=picture.sha256, width=picture.width, height=picture.height)


def _fields(row: JobRow) -> Iterator[tuple[str, str]]:
    if row.prompt is not None:
        yield "prompt", row.prompt[:_LONGEST]
    yield "workflow", row.workflow_id
    for name, value in row.params.items():
        if not (name in _PROMPT_FIELDS and value == row.prompt):
            yield name, shown(value)[:_LONGEST]
    for name, sha256 in row.images.items():
        yield name, f"{PurePath(row.image_files.get(name, '')).name} ({sha256[:12]})"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    key: str
    snapshot: Snapshot
    jobs: Mapping[str, PairedJob]

    @property
    def name(self) -> str:
        return name_of(self.snapshot.status.report)

    @property
    def state(self) -> str:
        return state_text(self.snapshot)

    @property
    def tone(self) -> str:
        return tone_of(self.snapshot)

    @property
    def is_cut(self) -> bool:
        """Whether the run has more jobs than are compared."""
        return self.snapshot.status.report.counts.total > _MOST_JOBS

    def picture(self, job: PairedJob) -> str | None:
        """Return the address of a job's first picture, small; None if there is none."""
        return None if job.sha256 is None else thumbnail_address(self.key, job.sha256)


async def side_of(run: ShownRun) -> Side:
    """Read a run for a comparison. Raises as ``Watch`` does."""
    return await run.read(lambda watch: _read(run.key, watch))


def _read(key: str, watch: Watch) -> Side:
    snapshot = watch.look()
    jobs: dict[str, PairedJob] = {}
    for place, row in enumerate(islice(watch.rows(), _MOST_JOBS)):
        jobs.setdefault(row.name, PairedJob.of(place, row))
    return Side(key, snapshot, jobs)


@dataclass(frozen=True, slots=True)
class JobPair:
    """The jobs of one name; a side is None if its run does not have the job."""

    name: str
    first: PairedJob | None
    second: PairedJob | None

    @property
    def kind(self) -> str:
        """Return the filter that the pair belongs to."""
        if self.first is None:
            return "second"
        if self.second is None:
            return "first"
        is_same = self.first.fields == self.second.fields and self.first.status == self.second.status
        return "same" if is_same else "different"

    def differences(self) -> list[FieldDifference]:
        """Return the fields that differ, if both runs have the job."""
        if self.first is None or self.second is None:
            return []
        names = dict.fromkeys([*self.first.fields, *self.second.fields])
        values = ((name, self.first.fields.get(name), self.second.fields.get(name)) for name in names)
        return [FieldDifference(name, *_excerpts(first, second)) for name, first, second in values if first != second]


def pairs_of(first: Mapping[str, PairedJob], second: Mapping[str, PairedJob]) -> list[JobPair]:
    """Match the jobs of two runs by name: in the order of the first run, then those that only the second has."""
    names = [*first, *(name for name in second if name not in first)]
    return [JobPair(name, first.get(name), second.get(name)) for name in names]


def _excerpts(first: str | None, second: str | None) -> tuple[ValueExcerpt | None, ValueExcerpt | None]:
    if first is None or second is None:
        return _excerpt_alone(first), _excerpt_alone(second)
    words, other = _WORD.findall(first), _WORD.findall(second)
    head = _shared(words, other)
    tail = _shared(words[head:][::-1], other[head:][::-1])
    before, after = sum(map(len, words[:head])), sum(map(len, words[len(words) - tail :]))
    return _excerpt(first, before, after), _excerpt(second, before, after)


def _excerpt_alone(value: str | None) -> ValueExcerpt | None:
    return None if value is None else _excerpt(value, 0, 0)


def _shared(words: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two texts have in common at their beginning."""
    pairs = zip(words, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _excerpt(value: str, head: int, tail: int) -> ValueExcerpt:
    """Cut a value into what it has in common with another at its beginning and end, and what differs between."""
    end = len(value) - tail
    before, marked, after = value[:head], value[head:end], value[end:]
    return ValueExcerpt(
        before if len(before) <= _CONTEXT else "…" + before[-_CONTEXT:],
        marked if len(marked) <= _MARKED else marked[:_MARKED] + "…",
        after if len(after) <= _CONTEXT else after[:_CONTEXT] + "…",
    )


_FILTERS = {"": "All", "different": "Different", "same": "Same", "first": "Only in A", "second": "Only in B"}


@dataclass(frozen=True, slots=True)
class _Filter:
    """A link of the page that shows some of the jobs."""

    label: str
    address: str
    count: int
    is_chosen: bool


def comparison_page(first: Side, second: Side, chosen: str, page: int) -> Page:
    """Return the page of a comparison. ``chosen`` is a key of ``_FILTERS``; ``page`` counts from 0."""
    chosen = chosen if chosen in _FILTERS else ""
    pairs = pairs_of(first.jobs, second.jobs)
    found = [pair for pair in pairs if chosen in {"", pair.kind}]
    page = min(page, max(0, (len(found) - 1) // _PAGE))
    assets = assets_of("comparison")
    html = template("comparison.html.j2").render(
        assets=assets,
        sides={"A": first, "B": second},
        pairs=found[page * _PAGE : (page + 1) * _PAGE],
        filters=list(_filters(pairs, chosen)),
        in_both=sum(pair.kind in {"same", "different"} for pair in pairs),
        difference=_signed(_spent(second) - _spent(first)),
        most=_MOST_JOBS,
        pages=_pages(len(found), page, chosen),
        of=f"{page * _PAGE + 1:,}–{min(len(found), (page + 1) * _PAGE):,} of {len(found):,}",
    )
    return Page(html, assets.policy)


def _filters(pairs: Sequence[JobPair], chosen: str) -> Iterable[_Filter]:
    for key, label in _FILTERS.items():
        count = sum(key in {"", pair.kind} for pair in pairs)
        if count or key == chosen:
            yield _Filter(label, f"?show={key}" if key else "?", count, key == chosen)


def _pages(count: int, page: int, chosen: str) -> Mapping[str, str]:
    """Return the addresses of the pages before and after this one."""
    show = f"show={chosen}&" if chosen else ""
    pages = {"Previous": page - 1, "Next": page + 1}
    return {label: f"?{show}page={number}" for label, number in pages.items() if 0 <= number * _PAGE < count}


def _spent(side: Side) -> Decimal:
    return side.snapshot.status.report.credits.spent


def _signed(amount: Decimal) -> str:
    return f"+{format_credits(amount)}" if amount > 0 else f"−{format_credits(-amount)}" if amount < 0 else "±0"
