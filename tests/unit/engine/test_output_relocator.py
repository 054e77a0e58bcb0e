"""Whose older output may be moved aside for a new one."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.core.events import Saved
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.output_relocator import OutputRelocator
from crucible_batch.outputs import relocated_path
from tests.harness.job_events import saved_event
from tests.harness.replacing import replace

PATH, SHA256, NEW = "fox/0.png", "ab" * 32, "cd" * 32
ASIDE = relocated_path(PATH, SHA256)
SAVED = saved_event(0, PATH, sha256=SHA256)


class Desk:
    """A history, a journal and a store in one. ``steps`` are what was done, in order."""

    def __init__(
        self, owners: Mapping[str, tuple[PlannedJob, Job, bool]], *, is_true: bool = True
    ) -> None:
        self.owners = owners
        self.content_is_ours = is_true
        self.unknown: list[tuple[PlannedJob, Job]] = []
        """Retired jobs without a saved output."""
        self.steps: list[str] = []

    def known(self, identity: str) -> tuple[PlannedJob, Job, bool] | None:
        return self.owners.get(identity)

    def saved_at(self, _path: str) -> list[str]:
        return [identity for identity in self.owners if identity != "asker"]

    def retired(self) -> list[tuple[PlannedJob, Job]]:
        return self.unknown

    def sidecars(self) -> Any:
        return SimpleNamespace(move=lambda _path, _aside: self.steps.append("sidecar"))

    async def is_true(self, _saved: Saved) -> bool:
        return self.content_is_ours

    async def add_name(self, *_names: str) -> None:
        self.steps.append("linked")

    async def free_name(self, *_names: str) -> None:
        self.steps.append("unlinked")

    async def record(self, identity: str, event: Any) -> None:
        self.steps.append(f"journalled {identity} {event.path}")


def owner(
    identity: str,
    *,
    name: str = "fox",
    retired: bool = False,
    phase: Phase = Phase.SUCCEEDED,
    saved: Saved = SAVED,
) -> tuple[PlannedJob, Job, bool]:
    return (
        PlannedJob(0, identity, name, "w", {}, output=f"{name}/{{index}}{{ext}}"),
        Job(identity, phase=phase, outputs={0: saved}),
        retired,
    )


async def found(desk: Desk) -> str | None:
    told = lambda *_told: desk.steps.append("told")  # noqa: E731
    relocator = OutputRelocator(desk, desk, desk, SystemClock(), told)  # type: ignore[arg-type]
    asker = PlannedJob(1, "asker", "fox", "w", {}, output="fox/{index}{ext}")
    return await relocator.find_path(asker, PATH, NEW)


@pytest.mark.parametrize(
    ("owners", "is_moved"),
    [
        ([owner("a", retired=True)], True),
        ([owner("a", name="renamed")], True),
        ([owner("a")], False),  # the path is its own in the plan
        ([owner("a", retired=True, phase=Phase.UNREADABLE)], False),  # it can't take the event
        ([owner("a", retired=True), owner("b")], False),
        ([owner("a", retired=True), owner("b", name="renamed")], True),
        ([], False),
    ],
)
async def test_a_file_is_moved_only_if_no_job_may_keep_it_there(
    owners: list[tuple[PlannedJob, Job, bool]], is_moved: bool
) -> None:
    desk = Desk({each[0].identity: each for each in owners})
    assert await found(desk) == (PATH if is_moved else None)
    journalled = [
        step for each in owners for step in (f"journalled {each[0].identity} {ASIDE}", "told")
    ]
    assert desk.steps == (["linked", *journalled, "sidecar", "unlinked"] if is_moved else [])


async def test_a_file_that_was_changed_is_the_users_and_stays() -> None:
    desk = Desk({"a": owner("a", retired=True)}, is_true=False)
    assert (await found(desk), desk.steps) == (None, [])


async def test_a_move_that_was_cut_off_after_its_event_is_finished_without_another() -> None:
    desk = Desk({"a": owner("a", retired=True, saved=replace(SAVED, path=ASIDE))})
    assert await found(desk) == PATH
    assert desk.steps == ["linked", "sidecar", "unlinked"]


async def test_an_output_of_a_retired_job_displaces_no_other() -> None:
    desk = Desk({"a": owner("a", retired=True), "asker": owner("asker", retired=True)})
    assert (await found(desk), desk.steps) == (relocated_path(PATH, NEW), [])


async def test_an_output_that_counts_stays_although_its_job_left_the_plan() -> None:
    """The new output is saved beside it: it is not the one that was asked for."""
    desk = Desk({"old": owner("old", retired=True)})
    asked: list[tuple[str, Saved]] = []

    def counts(planned: PlannedJob, saved: Saved) -> bool:
        asked.append((planned.identity, saved))
        return True

    store: Any = desk
    relocator = OutputRelocator(
        store, store, store, SystemClock(), lambda *_told: None, counts=counts
    )
    asker = PlannedJob(1, "asker", "fox", "w", {}, output="fox/{index}{ext}")
    assert await relocator.find_path(asker, PATH, NEW) == relocated_path(PATH, NEW)
    assert (desk.steps, asked) == ([], [("old", SAVED)])


@pytest.mark.parametrize(
    ("gives_way", "there", "expected"),
    [
        pytest.param(True, {}, relocated_path(PATH, NEW), id="aside, since another is wanted"),
        pytest.param(False, {}, None, id="the file there stays"),
        pytest.param(True, {"old": owner("old")}, None, id="an output of a planned job stays"),
    ],
)
async def test_an_output_that_another_is_wanted_for_gives_way_to_an_unknown_file(
    *, gives_way: bool, there: Mapping[str, Any], expected: str | None
) -> None:
    """Such as the other one itself, after the journal that had it was lost."""
    desk = Desk(there)
    relocator = OutputRelocator(
        desk,
        desk,
        desk,
        SystemClock(),
        lambda *_told: None,
        gives_way=lambda planned: gives_way and planned.identity == "asker",
    )  # type: ignore[arg-type]
    asker = PlannedJob(1, "asker", "fox", "w", {}, output="fox/{index}{ext}")
    assert await relocator.find_path(asker, PATH, NEW) == expected
    assert desk.steps == []


@pytest.mark.parametrize(
    ("name", "phase", "expected"),
    [
        ("fox", Phase.SUBMITTING, relocated_path(PATH, NEW)),
        ("fox", Phase.UNKNOWN, relocated_path(PATH, NEW)),
        ("fox", Phase.IN_FLIGHT, relocated_path(PATH, NEW)),
        ("fox", Phase.FETCHING, relocated_path(PATH, NEW)),
        ("fox", Phase.FAILED, None),
        ("fox", Phase.SUCCEEDED, None),
        ("another", Phase.IN_FLIGHT, None),
    ],
)
async def test_an_unknown_file_may_be_that_of_a_retired_job_which_has_not_ended(
    name: str, phase: Phase, expected: str | None
) -> None:
    """In an object store, an output may be there before the log has its job's last events."""
    desk = Desk({})
    desk.unknown = [owner("old", name=name, phase=phase)[:2]]
    assert (await found(desk), desk.steps) == (expected, [])
