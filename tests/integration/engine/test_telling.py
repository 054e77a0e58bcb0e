"""What a run tells of itself: which jobs it is about, which it only collects, and how far a long
download is.
"""

from __future__ import annotations

from crucible_batch.core import events
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.progress import JobAdvanced, RunBegan, RunEnded, Stopping, TakenUp
from crucible_batch.engine import runner as runner_module
from crucible_batch.errors import ExitCode

FOUR = "\n".join(f"{{name: j{i}, prompt: 'picture {i}'}}" for i in range(4))


def of(kind, seen):
    return [message for message in seen.messages if isinstance(message, kind)]


async def test_a_run_for_some_jobs_counts_those_alone(start, watcher):
    seen = watcher()
    async with start() as bench:
        manifest = bench.manifest(FOUR)
        await bench.run(manifest, only=["j0"])
        await bench.run(manifest, only=["j[01]"], observer=seen)
    (began,), (ended,) = of(RunBegan, seen), of(RunEnded, seen)
    assert (began.total, dict(began.counts)) == (2, {Outcome.SUCCEEDED: 1, Outcome.PENDING: 1})
    assert dict(ended.counts) == {Outcome.SUCCEEDED: 2}
    assert not any(message.beside for message in of(JobAdvanced, seen))


async def test_what_an_earlier_run_left_in_flight_is_reported_when_it_is_resumed(
    start, watcher, monkeypatch
):
    made = []
    original = runner_module.Runner.__init__

    def init(self, **parts):
        original(self, **parts)
        made.append(self)

    def leave(message: object) -> None:
        if isinstance(getattr(message, "event", None), events.Accepted):
            made[-1].control.interrupt(ExitCode.SIGINT)
            made[-1].control.interrupt(ExitCode.SIGINT)

    monkeypatch.setattr(runner_module.Runner, "__init__", init)
    first, second = watcher(leave), watcher()
    async with start(faults="generate.slow-queue=1", slow_queue_s=1000.0) as bench:
        manifest = bench.manifest(FOUR)
        await bench.run(manifest, observer=first)
        held_at = next(
            message.event.at for message in of(JobAdvanced, first) if message.name == "j0"
        )
        await bench.configure(advance_s=2000)
        result = await bench.run(manifest, observer=second, only=["j3"])
        await bench.agree(result)
    assert [message.grace_s for message in of(Stopping, first)] == [30.0]
    (taken,) = of(TakenUp, second)
    assert (taken.name, taken.since, taken.beside) == ("j0", held_at, True)
    assert {message.name: message.beside for message in of(JobAdvanced, second)} == {
        "j0": True,
        "j3": False,
    }
    assert of(RunBegan, second)[0].total == 1
