"""Planted bugs of commands to running runs and of manifests in stages: ``bugs.py`` has the others,
and plants all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from crucible_batch import planner
from crucible_batch.core import job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine import pause, run_control
from crucible_batch.engine.job_worker import JobWorker
from crucible_batch.features.stages import derived_jobs, picks
from crucible_batch.features.stages import entry as stage_entry

Plant = Callable[[ExitStack], None]
SCENE_BUGS: dict[str, Plant] = {}


def _bug(plant: Plant) -> Plant:
    SCENE_BUGS[plant.__name__.strip("_").replace("_", " ")] = plant
    return plant


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


# -- commands


@_bug
def a_pause_that_is_answered_and_ignored(stack: ExitStack) -> None:
    _set(stack, pause.Pause, "begin", lambda self: None)


@_bug
def a_hold_that_is_sent_in_a_pause(stack: ExitStack) -> None:
    """A job that had its credits before the pause is submitted all the same."""
    _set(stack, pause.Pause, "release_if_paused", lambda self: None)


@_bug
def an_earlier_submit_in_doubt_sent_in_a_pause(stack: ExitStack) -> None:
    submit = JobWorker._submit

    async def at_once(self: JobWorker, subject: job.Job) -> Any:
        if not subject.in_doubt:
            return await submit(self, subject)
        with ExitStack() as own:
            own.enter_context(patch.object(self._context.gate._pause, "_is_commanded", False))
            return await submit(self, subject)

    _set(stack, JobWorker, "_submit", at_once)


@_bug
def a_stop_that_buys_on(stack: ExitStack) -> None:
    _set(
        stack,
        run_control.RunControl,
        "interrupt",
        lambda self, code, error=None: self._stop.reasons.add(code),
    )


# -- stages


@_bug
def picks_ignored(stack: ExitStack) -> None:
    _set(stack, picks.Picks, "takes", lambda self, name, index: True)


@_bug
def a_former_source_taken_for_the_one_of_its_name(stack: ExitStack) -> None:
    derive = derived_jobs.DerivedJobs.derive

    def of_that_name(self: derived_jobs.DerivedJobs, planned: PlannedJob, saved: Any) -> Any:
        return derive(self, self._planned.get(planned.name, planned), saved)

    _set(stack, derived_jobs.DerivedJobs, "derive", of_that_name)


@_bug
def a_stage_that_does_not_wait_for_its_picks(stack: ExitStack) -> None:
    _set(stack, stage_entry.DerivingEntry, "is_waiting", property(lambda self: False))


@_bug
def a_key_without_the_digest_of_its_source(stack: ExitStack) -> None:
    job_identity = planner.job_identity
    _set(stack, planner, "job_identity", lambda **parts: job_identity(**parts | {"images": {}}))


@_bug
def a_key_with_the_order_in_which_sources_were_saved(stack: ExitStack) -> None:
    kept_repeat = planner.Planner._kept_repeat
    order = iter(range(1, 10**9))

    def ordered(self: Any, wanted: Any, identity_of: Any) -> int:
        is_made = wanted.source is not None and not wanted.source.is_expected
        return next(order) if is_made else kept_repeat(self, wanted, identity_of)

    _set(stack, planner.Planner, "_kept_repeat", ordered)


@_bug
def a_job_of_a_later_stage_forgotten_by_the_next_run(stack: ExitStack) -> None:
    _set(stack, derived_jobs.SavedOutputs, "of", lambda self, planned: [])
