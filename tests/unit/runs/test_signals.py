"""A signal is heard by the run while it works, and by whoever handles signals otherwise once it
doesn't: never lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from crucible_batch.errors import ExitCode
from crucible_batch.runs.cancellation import Signals, interruptible_immediately


class Working:
    def __init__(self) -> None:
        self.heard: list[ExitCode] = []

    def interrupt(self, code: ExitCode) -> None:
        self.heard.append(code)


@pytest.fixture
def elsewhere() -> Iterator[list[int]]:
    """What reaches the handlers that were there before."""
    reached: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: reached.append(number))
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    yield reached
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_a_run_hears_of_each_signal_in_the_loops_next_turn(elsewhere):
    run = Working()
    with Signals(run) as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert run.heard == []
        await asyncio.sleep(0)
    await signals.pass_on()
    assert run.heard == [ExitCode.SIGTERM, ExitCode.SIGTERM]
    assert elsewhere == []


async def test_one_that_comes_after_the_last_turn_is_passed_on_when_that_is_asked_for(elsewhere):
    run = Working()
    with Signals(run) as signals:
        signal.raise_signal(signal.SIGHUP)
    await asyncio.sleep(0)
    assert (run.heard, elsewhere) == ([], [])
    await signals.pass_on()
    await signals.pass_on()
    assert (run.heard, elsewhere) == ([], [signal.SIGHUP])


async def test_one_that_is_ignored_stays_ignored_and_all_is_as_before_at_the_end(elsewhere):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run = Working()
    with Signals(run):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)
    signal.raise_signal(signal.SIGTERM)
    assert (run.heard, elsewhere) == ([], [signal.SIGTERM])


def test_ctrl_c_that_came_too_late_ends_as_it_does_where_no_run_is():
    async def ending() -> None:
        with Signals(Working()) as signals:
            signal.raise_signal(signal.SIGINT)
        await signals.pass_on()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(ending())


def test_ctrl_c_is_at_once_where_it_is_asked_for_and_as_before_behind_it():
    async def working() -> list[str]:
        before, done = signal.getsignal(signal.SIGINT), []
        try:
            with interruptible_immediately():
                signal.raise_signal(signal.SIGINT)
                done.append("went on")
        except KeyboardInterrupt:
            done.append("ended")
        assert signal.getsignal(signal.SIGINT) is before
        return done

    assert asyncio.run(working()) == ["ended"]


def test_ctrl_c_that_is_ignored_stays_so_at_once_too():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible_immediately():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
