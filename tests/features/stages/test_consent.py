"""The question before a run without a budget counts the next stages."""

from dataclasses import replace

from crucible_batch.cli.run_session import _question
from crucible_batch.runs.later_jobs import NextStage
from crucible_batch.runs.plan_summary import StagePreview
from tests.unit.cli.test_consent import DECLARED, summary


def test_consent_is_asked_for_the_jobs_of_later_stages_as_well() -> None:
    stage = StagePreview(NextStage("final", "draft*", 5, {}, 0), (replace(DECLARED, count=5),))
    assert _question(replace(summary(DECLARED), stages=(stage,))) == "Spend up to 60 credits?"
