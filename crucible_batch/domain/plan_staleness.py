"""The changes between a saved plan and the present state, each as a ``PlanChange``: a plan with any is stale.

    of the head                                different if
      the gateway, a term (budget, ...)        it has changed
      the manifest, a text file that it reads  its bytes have changed; a file is no longer read, or newly read
      a workflow's parameter list              a name was added or removed (the order doesn't matter)
      a price                                  other runs learned another price
    of the jobs, by name                       different if
      the job                                  it is new or gone
      an image                                 its bytes have changed: one change for all its jobs
      workflow, parameters, images, repeat     they have changed: one change each
      its state                                another run changed it; or no run did, and the journal was replaced

Changes of a job's state by the plan's own runs, and prices learned by them, don't count as changes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import assert_never

from crucible_batch.domain.credits import Credits, format_credits
from crucible_batch.domain.prices import UPLOAD_CLASS, Certainty, Quote
from crucible_batch.domain.saved_plan import ImageFile, ManifestFile, PlannedPrice, PlannedState, PlanRow, PlanTerms
from crucible_batch.errors import PlanChange

_ENDLESS = 2**63


@dataclass(frozen=True, slots=True)
class RunStart:
    """The start of a run: the digest of its saved plan, and the number of the last event before it, if recorded."""

    plan_digest: str | None
    begins_after: int | None


class Author(enum.Enum):
    """The author of the changes of a job's state since a plan was made."""

    NOBODY = enum.auto()
    THE_PLAN = enum.auto()
    ANOTHER_RUN = enum.auto()


def own_event_numbers(runs: Sequence[RunStart], plan_digest: str) -> tuple[range, ...]:
    """Return the numbers of the events that runs of this plan wrote. ``runs`` are all runs of a journal, oldest first.

    Only one run at a time holds a directory, so a run's events end where the next one begins. A run without a recorded
    start owns no events, and neither does the run before it: events of unknown origin count as another run's.
    """
    own = []
    for run, following in zip_longest(runs, runs[1:]):
        if run.plan_digest == plan_digest and run.begins_after is not None:
            end = _ENDLESS if following is None else following.begins_after
            if end is not None:
                own.append(range(run.begins_after + 1, end + 1))
    return tuple(own)


def change_author(numbers: Iterable[int], own: Sequence[range]) -> Author:
    """Return the author of the events with these numbers: another run if any of them isn't in ``own``."""
    is_own = [any(number in events for events in own) for number in numbers]
    if not is_own:
        return Author.NOBODY
    return Author.THE_PLAN if all(is_own) else Author.ANOTHER_RUN


_LONGEST_VALUE = 40


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """A job in its present state, and the author of the changes since the plan was made."""

    row: PlanRow
    author: Author


# --- the head ------------------------------------------------------------------------------------------------------


def diff_gateway(saved: str, now: str) -> Iterator[PlanChange]:
    if saved != now:
        yield PlanChange("gateway", now, f"the gateway was {saved}, is now {now}")


def diff_terms(saved: PlanTerms, now: PlanTerms) -> Iterator[PlanChange]:
    for field in fields(PlanTerms):
        before, after = getattr(saved, field.name), getattr(now, field.name)
        if before != after:
            yield PlanChange("term", field.name, f"{field.name} was {_value(before)}, is now {_value(after)}")


def diff_manifest(saved: ManifestFile, now: ManifestFile) -> Iterator[PlanChange]:
    if saved.sha256 != now.sha256:
        yield PlanChange("manifest", saved.path, f"{saved.path}: content changed")
    if saved.name != now.name:
        yield PlanChange("manifest", saved.path, f"the manifest's name was {saved.name}, is now {now.name}")


def diff_files(saved: Mapping[str, str], now: Mapping[str, str]) -> Iterator[PlanChange]:
    """Compare the text files that the manifest reads."""
    for name in sorted(saved.keys() | now.keys()):
        if name not in now:
            yield PlanChange("file", name, f"{name} is no longer read by the manifest")
        elif name not in saved:
            yield PlanChange("file", name, f"{name} is now read by the manifest")
        elif saved[name] != now[name]:
            yield PlanChange("file", name, f"{name}: content changed")


def diff_workflows(
    saved: Mapping[str, tuple[str, ...] | None], now: Mapping[str, tuple[str, ...] | None]
) -> Iterator[PlanChange]:
    """Compare the parameter lists that the plan was checked against."""
    for workflow_id, listed in saved.items():
        lists = now.get(workflow_id)
        if workflow_id not in now:
            yield PlanChange("workflow", workflow_id, f"workflow {workflow_id} is no longer available")
        elif lists is None or listed is None:
            if lists != listed:
                verb = "no longer lists" if lists is None else "now lists"
                yield PlanChange("workflow", workflow_id, f"workflow {workflow_id} {verb} its parameters")
        else:
            for name in sorted(set(listed) - set(lists)):
                message = f"workflow {workflow_id} no longer lists the parameter {name}"
                yield PlanChange("workflow", workflow_id, message)
            for name in sorted(set(lists) - set(listed)):
                yield PlanChange("workflow", workflow_id, f"workflow {workflow_id} now lists the parameter {name}")


def diff_prices(saved: Iterable[PlannedPrice], now: Mapping[str, Quote]) -> Iterator[PlanChange]:
    """Compare the prices. ``now`` excludes those learned by the plan's own runs."""
    for price in saved:
        quote = now[price.price_class]
        if (price.certainty, price.each) != (quote.certainty, quote.credits):
            name = "an upload" if price.price_class == UPLOAD_CLASS else price.price_class.partition(":")[2]
            before, after = _price(price.certainty, price.each), _price(quote.certainty, quote.credits)
            yield PlanChange("price", name, f"the price of {name} was {before}, is now {after}")


def _price(certainty: Certainty, each: Credits | None) -> str:
    if each is None:
        return "unknown"
    words = {Certainty.KNOWN: "exactly ", Certainty.BOUNDED: "at most "}
    return f"{words.get(certainty, '')}{format_credits(each)}"


# --- the jobs ------------------------------------------------------------------------------------------------------


def diff_rows(saved: Iterable[PlanRow], now: Iterable[CurrentJob]) -> Iterator[PlanChange]:
    """Compare the jobs by name; both sides are in manifest order.

    Only jobs whose position has changed are kept in memory: one of each side if there are none.
    """
    images: set[str] = set()
    waiting: dict[str, PlanRow] = {}
    early: dict[str, CurrentJob] = {}
    for row, job in zip_longest(saved, now):
        if row is not None:
            waiting[row.name] = row
        if job is not None:
            early[job.row.name] = job
        names = [each.name for each in (row, job.row if job is not None else None) if each is not None]
        for name in names:
            if name in waiting and name in early:
                yield from _diff_job(waiting.pop(name), early.pop(name), images)
    for name in early:
        yield PlanChange("job", name, f"new job {name}")
    for name in waiting:
        yield PlanChange("job", name, f"job {name} was removed")


def _diff_job(saved: PlanRow, now: CurrentJob, images: set[str]) -> Iterator[PlanChange]:
    if saved.identity == now.row.identity:
        yield from _diff_state(saved, now)
        return
    is_explained = False
    for image in _changed_images(saved.images, now.row.images):
        is_explained = True
        if image not in images:
            images.add(image)
            yield PlanChange("image", image, f"{image}: content changed")
    for change in _changes(saved, now.row):
        is_explained = True
        yield PlanChange("job", saved.name, f"{saved.name}: {change}")
    if not is_explained:
        yield PlanChange("job", saved.name, f"{saved.name}: the request has changed")


def _diff_state(saved: PlanRow, now: CurrentJob) -> Iterator[PlanChange]:
    if saved.state is now.row.state:
        return
    before, after = (state.value.replace("_", " ") for state in (saved.state, now.row.state))
    match now.author:
        case Author.THE_PLAN:
            return
        case Author.ANOTHER_RUN:
            message = f"job {saved.name} was {before}, is now {after} because of another run"
            if now.row.state is PlannedState.DONE:
                message = f"job {saved.name} has been completed by another run"
        case Author.NOBODY:
            message = f"job {saved.name} was {before}, is {after} in the current run directory"
        case _:
            assert_never(now.author)
    yield PlanChange("job", saved.name, message)


def _changed_images(saved: Mapping[str, ImageFile], now: Mapping[str, ImageFile]) -> Iterator[str]:
    for param in saved.keys() & now.keys():
        before, after = saved[param], now[param]
        if before.path == after.path and before.sha256 != after.sha256:
            yield before.path


def _changes(saved: PlanRow, now: PlanRow) -> Iterator[str]:
    if saved.workflow_id != now.workflow_id:
        yield f"workflow was {saved.workflow_id}, is now {now.workflow_id}"
    if saved.repeat != now.repeat:
        yield f"repeat was {saved.repeat}, is now {now.repeat}"
    for name in sorted(saved.params.keys() | now.params.keys()):
        yield from _changed_param(name, saved.params, now.params)
    for name in sorted(saved.images.keys() | now.images.keys()):
        before, after = saved.images.get(name), now.images.get(name)
        if (before and before.path) != (after and after.path):
            yield f"{name} was {before.path if before else 'not set'}, is now {after.path if after else 'not set'}"


def _changed_param(name: str, saved: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    if name in saved and name in now:
        before, after = saved[name], now[name]
        # 1, 1.0 and True are equal in Python, but different JSON.
        if (type(before), before) == (type(after), after):
            return
        if name.partition(".")[0] == "prompt":
            yield "prompt changed"
        else:
            yield f"{name} was {_value(before)}, is now {_value(after)}"
    else:
        yield f"{name} is {'now set' if name in now else 'no longer set'}"


def _value(value: object) -> str:
    match value:
        case None:
            return "none"
        case Credits():
            return format_credits(value)
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            text = str(value) if not isinstance(value, str) else repr(value)  # 64 and "64" differ
            return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
