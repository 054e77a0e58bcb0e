"""A submit was never answered, and its key grows old: it is sent again only while the gateway is
trusted to know it.
"""

from __future__ import annotations

from collections import Counter

import pytest

from crucible_batch.core.job import Phase
from tests.harness.in_doubt import leave_in_doubt

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DAY_S = 86_400.0


@pytest.mark.parametrize(("age_s", "is_sent"), [(0.9 * DAY_S, True), (1.1 * DAY_S, False)])
async def test_a_submit_that_was_never_answered_is_sent_again_while_its_key_is_young(
    start, tampered, age_s, is_sent
):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=4)
        await leave_in_doubt(bench, tampered, manifest, answered=1, arrives=False)
        bench.clock._wall += age_s
        result = await bench.run(manifest)
        state = await bench.agree(result) if is_sent else await bench.state()
    assert len(state["jobs"]) == (2 if is_sent else 1)
    assert result.exit_code == (0 if is_sent else 5)
    assert result.report.credits.held == (0 if is_sent else 2)
    assert Counter(row.status for row in result.jobs()) == (
        {"succeeded": 2} if is_sent else {"succeeded": 1, "unknown": 1}
    )


async def test_an_old_key_is_named_once_and_sent_again_only_when_that_is_asked_for(
    start, tampered, watcher
):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=4)
        await leave_in_doubt(bench, tampered, manifest, answered=1, arrives=False)
        bench.clock._wall += 2 * DAY_S
        told = watcher()
        first = await bench.run(manifest, observer=told)
        unknown = next(row for row in first.jobs() if row.status == "unknown")
        silent = watcher()
        await bench.run(manifest, observer=silent)
        forced = await bench.run(manifest, resubmit_unknown=True)
        await bench.agree(forced)
    assert unknown.error.code == "KEY_MAY_BE_FORGOTTEN"
    assert "--resubmit-unknown" in unknown.error.hint
    advanced = [
        message for message in told.messages if getattr(message, "phase", None) is Phase.UNKNOWN
    ]
    assert len(advanced) == 1
    assert not [
        message for message in silent.messages if getattr(message, "phase", None) is Phase.UNKNOWN
    ]
    assert forced.exit_code == 0


async def test_how_long_keys_are_trusted_can_be_said(start, tampered):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=4)
        await leave_in_doubt(bench, tampered, manifest, answered=1, arrives=False)
        bench.clock._wall += 3 * DAY_S
        result = await bench.run(manifest, key_ttl_s=4 * DAY_S)
        await bench.agree(result)
    assert result.exit_code == 0


async def test_a_submit_in_doubt_of_a_job_that_left_the_manifest_is_not_sent_again(start, tampered):
    """To ask again might buy what nobody wants any more; what it may have cost stays held."""
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=4)
        await leave_in_doubt(bench, tampered, manifest, answered=1, arrives=False)
        before = (await bench.state())["requests"]["generate"]
        result = await bench.run(bench.manifest("{name: a, prompt: one}", budget=4))
        state = await bench.state()
        assert (len(state["jobs"]), state["requests"]["generate"]) == (1, before)
        assert (result.exit_code, result.report.credits.held) == (0, 2)
        wanted = await bench.run(
            bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=4)
        )
        await bench.agree(wanted)
    assert wanted.exit_code == 0
