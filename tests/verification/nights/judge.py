"""The judge of a play. It knows the contract and the documentation, and does not rely on what runs
report.

It reads the gateway's ledger and jobs, the messages that were received, exit codes, the pictures on
the disk, and at the end what ``budget show`` shows as set aside. What a night should buy, when it
should begin, and when the gateway was out is in ``scenario``.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property

from crucible_batch.sandbox.records import Entry, Job
from crucible_batch.sandbox.workflows import prompt
from tests.verification.nights.calendar import month
from tests.verification.nights.play import Command, Ran, Story
from tests.verification.nights.scenario import ATTEMPTS, NIGHTLIES, Nightly

_SLACK = timedelta(minutes=2)
_DONE = (0, 1)
_ENDS = {0: "run.succeeded", 4: "run.blocked"}


def judge(story: Story) -> list[str]:
    """Return what is wrong with a story; empty if it went as documented."""
    return list(_Judge(story).complaints())


_UNSETTLED = {None, 5}
"""Exit codes of runs that may have left jobs in flight: killed, and stopped by an outage."""


@dataclass(frozen=True)
class _Night:
    """What one night of a manifest had bought by some moment, from the gateway's own records."""

    succeeded: int
    failed: int
    open: int


class _Judge:
    def __init__(self, story: Story) -> None:
        self._story = story
        self._scenario = story.scenario
        self._jobs: dict[str, list[Job]] = defaultdict(list)
        for job in story.jobs:
            self._jobs[prompt(job.params)].append(job)

    def complaints(self) -> Iterator[str]:
        yield from self._story.complaints
        yield from self._money()
        yield from self._budget()
        yield from self._starts()
        yield from self._catching_up()
        for ran in self._story.runs:
            if ran.exit_code is not None:
                yield from self._exit_code(ran)
        for command in self._story.commands:
            if not command.is_killed and (expected := _code_of(command)) != command.exit_code:
                yield (
                    f"{_title(command)} ended with exit code {command.exit_code} "
                    f"instead of {expected}"
                )
        yield from self._in_the_end()
        yield from self._messages()
        if self._story.left_set_aside != 0:
            yield (
                f"{self._story.left_set_aside} credits of the budget are still set aside, "
                "and no run is active"
            )

    # -- money

    def _money(self) -> Iterator[str]:
        """Nothing is paid twice, and nothing is bought that no night asked for."""
        asked = {text for nightly, moment in self._due() for text in nightly.prompts(moment)}
        for text, jobs in self._jobs.items():
            kept = [job for job in jobs if job.error_code is None]
            if text not in asked:
                yield f"{text!r} was bought, and no scheduled time asks for it"
            if len(kept) > 1:
                yield f"{text!r} was bought {len(kept)} times"
            if len(jobs) > ATTEMPTS:
                yield f"{text!r} had {len(jobs)} attempts"
        keys = Counter(job.idempotency_key for job in self._story.jobs)
        yield from (
            f"key {key} was used for {count} jobs" for key, count in keys.items() if count > 1
        )
        if None in keys:
            yield "a job was bought without a key"

    def _budget(self) -> Iterator[str]:
        """At each row of the ledger, the charges of each month minus their refunds are within its
        budget.

        Without ``max_credits_per_job``, one job of unknown price may exceed what is left, as
        documented.
        """
        excess = (
            Decimal(0)
            if self._scenario.ceiling is not None
            else max(map(self._highest_price, NIGHTLIES))
        )
        for row, (entry, spent) in enumerate(self._spending):
            if spent > self._scenario.credits and spent >= self._scenario.credits + excess:
                at = datetime.fromtimestamp(entry.created_at, UTC)
                yield (
                    f"row {row} of {at}: {spent} of {self._scenario.credits} credits "
                    f"are spent in {month(at)}"
                )

    @cached_property
    def _spending(self) -> list[tuple[Entry, Decimal]]:
        """Each row that changes what a month has spent, with its sum afterwards.

        Refunds belong to their charges.
        """
        sums: dict[str, Decimal] = defaultdict(Decimal)
        months: dict[str | None, str] = {}
        found: list[tuple[Entry, Decimal]] = []
        for entry in self._story.entries:
            at = datetime.fromtimestamp(entry.created_at, UTC)
            if entry.entry_type in ("reserve", "upload"):
                months[entry.job_id or entry.asset_id] = month(at)
                sums[month(at)] += entry.amount
            elif entry.entry_type in ("refund", "rebate"):
                sums[months[entry.job_id or entry.asset_id]] -= entry.amount
            else:
                continue
            found.append((entry, sums[months[entry.job_id or entry.asset_id]]))
        return found

    def _spent(self, at: datetime) -> Decimal:
        """Return what the month of a moment had spent by then."""
        spent = Decimal(0)
        for entry, after in self._spending:
            charged = datetime.fromtimestamp(entry.created_at, UTC)
            if charged <= at and month(charged) == month(at):
                spent = after
        return spent

    # -- times

    def _due(self) -> Iterator[tuple[Nightly, datetime]]:
        for nightly in NIGHTLIES:
            for moment in nightly.times(self._scenario.begin, self._scenario.end):
                yield nightly, moment

    def _starts(self) -> Iterator[str]:
        """While it is up, cron starts each manifest at each of its times, once, and at no other."""
        started = Counter(
            (command.nightly.name, command.scheduled_at)
            for command in self._story.commands
            if command.by == "cron"
        )
        for nightly, moment in self._due():
            count = started.pop((nightly.name, moment), 0)
            is_up = any(since < moment < until for since, until in self._story.uptimes)
            if count != is_up:
                yield (
                    f"{nightly.name} of {moment} was started {count} times instead of {int(is_up)}"
                )
        yield from (
            f"{name} was started for {moment}, which is not one of its times"
            for name, moment in started
        )

    def _catching_up(self) -> Iterator[str]:
        """A command runs the missed times before its own, oldest first, up to its limit; and then
        its own."""
        for command in self._story.commands:
            if command.is_skipped or command.is_killed:
                continue
            times = [ran.scheduled_at for ran in command.runs]
            if times != sorted(set(times)):
                yield f"{_title(command)} ran in the order {', '.join(map(str, times))}"
            if times[-1:] != [command.scheduled_at]:
                yield f"{_title(command)} did not end with its own time"
            if set(expected := self._missed(command)) != set(times[:-1]):
                yield (
                    f"{_title(command)} caught up {_list(times[:-1])} instead of {_list(expected)}"
                )

    def _missed(self, command: Command) -> list[datetime]:
        """Return the times that a command should catch up: not run yet, or neither finished nor
        active.
        """
        if not command.catch_up:
            return []
        earlier = [
            ran
            for ran in self._runs_of(command.nightly)
            if ran.began < command.began and ran not in command.runs
        ]
        if not earlier:
            return []
        times = list(command.nightly.times(self._scenario.begin, command.scheduled_at))[
            -command.catch_up :
        ]
        found: list[datetime] = []
        for moment in times:
            of_it = [ran for ran in earlier if ran.scheduled_at == moment]
            newest = max(of_it, key=lambda ran: ran.began, default=None)
            if (newest is None and min(ran.began for ran in earlier) < moment) or (
                newest is not None
                and newest.ended <= command.began
                and newest.exit_code not in _DONE
            ):
                found.append(moment)
        return found

    def _runs_of(self, nightly: Nightly) -> list[Ran]:
        return [ran for ran in self._story.runs if ran.nightly is nightly]

    # -- exit codes

    def _exit_code(self, ran: Ran) -> Iterator[str]:
        night = self._night(ran)
        expected = self._expected(ran, night)
        if ran.exit_code not in expected:
            yield (
                f"{ran}: {night}, so the exit code should be "
                f"{' or '.join(map(str, sorted(expected)))}"
            )
        if ran.pictures != night.succeeded and ran.exit_code != 5:
            yield (
                f"{ran}: {ran.pictures} pictures are on the disk, "
                f"and {night.succeeded} jobs have succeeded"
            )
        if ran.exit_code == 4 and (why := self._enough_credits(ran)):
            yield f"{ran}: {why}"

    def _night(self, ran: Ran) -> _Night:
        until = ran.ended.timestamp()
        succeeded = failed = 0
        texts = ran.nightly.prompts(ran.scheduled_at)
        for text in texts:
            ended = [job for job in self._jobs[text] if job.finished_at <= until]
            succeeded += any(job.error_code is None for job in ended)
            failed += sum(job.error_code is not None for job in ended) >= ATTEMPTS
        return _Night(succeeded, failed, len(texts) - succeeded - failed)

    def _expected(self, ran: Ran, night: _Night) -> set[int]:
        """Return the exit codes that are right: only one, unless the outage began or ended at this
        very time.
        """
        if night.open == 0:
            # An output may be missing still if the outage began before it was fetched.
            return {1 if night.failed else 0} | (
                {5} if self._is_out(ran) and ran.pictures < night.succeeded else set()
            )
        if self._is_out(ran):
            return {5}
        return {4}

    def _is_out(self, ran: Ran) -> bool:
        return any(begin <= ran.ended <= end for begin, end in self._scenario.outages)

    def _enough_credits(self, ran: Ran) -> str:
        """Return why a run that is blocked had enough credits; empty if it hadn't."""
        needed = self._highest_price(ran.nightly)
        if self._available(ran.ended) < needed:
            return ""
        bound = self._scenario.ceiling or needed
        left = self._scenario.credits - self._spent(ran.ended)
        others = self._set_aside_by_others(ran)
        if others is None or left - others < max(needed, bound):
            return ""
        return (
            f"{left} credits of {month(ran.ended)} were left, others had set aside {others} at most"
        )

    def _set_aside_by_others(self, ran: Ran) -> Decimal | None:
        """Return the most that other runs may have set aside meanwhile, or None without a bound."""
        most = Decimal(0)
        for other in self._holders(ran):
            if self._scenario.ceiling is None:
                return None
            most += self._scenario.ceiling * len(other.nightly.prompts(other.scheduled_at))
        return most

    def _holders(self, ran: Ran) -> Iterator[Ran]:
        """Yield the runs that were active meanwhile, or were killed or stopped by an outage and not
        run again yet.

        Both keep what they hold for jobs in flight.
        """
        runs = self._story.runs
        for other in runs:
            if other is ran or other.began > ran.ended:
                continue
            again = any(
                later.began >= other.ended
                and later.exit_code not in _UNSETTLED
                and later.ended <= ran.ended
                and (later.nightly, later.scheduled_at) == (other.nightly, other.scheduled_at)
                for later in runs
            )
            if other.ended >= ran.began or (other.exit_code in _UNSETTLED and not again):
                yield other

    def _highest_price(self, nightly: Nightly) -> Decimal:
        return max(
            (job.price for job in self._story.jobs if job.workflow_id == nightly.workflow),
            default=nightly.price,
        )

    def _available(self, at: datetime) -> Decimal:
        """Return what the account could spend at a moment, with the other client's purchases."""
        rows = self._story.all_entries
        place = bisect.bisect_right([entry.created_at for entry in rows], at.timestamp())
        return (
            rows[place - 1].balance_after - rows[place - 1].reserved_after if place else Decimal(0)
        )

    # -- the end

    def _in_the_end(self) -> Iterator[str]:
        """Each night that was begun has each job exactly once, or is explained: failed for good, or
        blocked.
        """
        newest: dict[tuple[str, datetime], Ran] = {}
        for ran in self._story.runs:
            newest[ran.nightly.name, ran.scheduled_at] = ran
        for ran in newest.values():
            if ran.exit_code not in (0, 1, 4):
                yield f"{ran}, and it was not resumed"
        for nightly, moment in self._due():
            if (nightly.name, moment) not in newest and not self._is_out_of_reach(nightly, moment):
                yield (
                    f"{nightly.name} of {moment} was never run, "
                    "and a later command should have caught it up"
                )

    def _is_out_of_reach(self, nightly: Nightly, moment: datetime) -> bool:
        """Return whether no command of a scheduler could run a time, neither as its own nor as a
        missed one."""
        began = min((ran.began for ran in self._runs_of(nightly)), default=self._scenario.end)
        for command in self._story.commands:
            if command.nightly is not nightly or command.by != "cron":
                continue
            if command.is_skipped or command.is_killed or command.scheduled_at < moment:
                continue
            between = list(nightly.times(moment, command.scheduled_at))
            if len(between) <= command.catch_up and (began < moment or not between):
                return False
        return True

    # -- messages

    def _messages(self) -> Iterator[str]:
        """Each run that ended has sent one message about its end, the right one."""
        left = list(self._story.messages)
        for ran in self._story.runs:
            run_id = ran.nightly.name_of_run(ran.scheduled_at)
            ends = [
                message
                for message in left
                if (message.data["manifest"], message.data["run_id"]) == (ran.nightly.name, run_id)
                and ran.began <= message.at <= ran.ended + _SLACK
            ]
            for message in ends:
                left.remove(message)
            expected = self._expected_end(ran)
            if [message.type for message in ends] != expected:
                yield (
                    f"{ran}: the messages of its end are {[m.type for m in ends]} "
                    f"instead of {expected}"
                )
            if any(message.data["exit_code"] != ran.exit_code for message in ends):
                yield f"{ran}: its message has exit code {ends[0].data['exit_code']}"
        yield from (f"message {message} is of no run" for message in left)

    def _expected_end(self, ran: Ran) -> list[str]:
        if ran.exit_code is None:
            return []
        if ran.exit_code == 1:
            return ["run.partial" if self._night(ran).succeeded else "run.failed"]
        return [_ENDS.get(ran.exit_code, "run.failed")]


def _code_of(command: Command) -> int:
    """Return the exit code of a command by those of its runs: the first of 5, 4 and 1, as
    documented.
    """
    codes = {ran.exit_code for ran in command.runs}
    return next((code for code in (5, 4, 1) if code in codes), 0)


def _title(command: Command) -> str:
    return f"{command.by}'s {command.nightly.name} of {command.scheduled_at}"


def _list(times: Sequence[datetime]) -> str:
    return ", ".join(f"{moment:%m-%d %H:%M}" for moment in times) or "nothing"
