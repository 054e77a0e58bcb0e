"""The figures of a run, updated by its progress messages. No dependency on a metrics library."""

from __future__ import annotations

from crucible_batch.core.credits import Credits
from crucible_batch.core.progress import (
    Balance,
    GatewayBack,
    GatewayUnreachable,
    Message,
    RunBegan,
)
from crucible_batch.core.tally import Tally
from crucible_batch.report import PeriodRow


class RunFigures(Tally):
    """The figures of a run of a manifest.

    ``began_at`` is the start of the command, in seconds since the epoch.
    """

    def __init__(self, began_at: float, schedule_interval_s: float | None = None) -> None:
        super().__init__()
        self.began_at = began_at
        self.schedule_interval_s = schedule_interval_s
        self.ended_at: float | None = None
        self.exit_code: int | None = None
        self.succeeded_at: float | None = None
        self.period: PeriodRow | None = None
        self._outages_s = 0.0
        self._outage_now_s = 0.0
        self._spent_before: Credits | None = None

    @property
    def spent(self) -> Credits | None:
        """The credits spent by this run alone; None if it has not begun."""
        if self.balance is None or self._spent_before is None:
            return None
        return self.balance.spent - self._spent_before

    @property
    def outage_s(self) -> float:
        """The time waited for an unreachable gateway, without outages shorter than a minute."""
        return self._outages_s + self._outage_now_s

    def notify(self, message: Message) -> None:
        self.follow(message)
        match message:
            case RunBegan():
                self._spent_before = message.balance.spent
            case GatewayUnreachable():
                self._outage_now_s = message.lasted_s
            case GatewayBack():
                self._outages_s += message.lasted_s
                self._outage_now_s = 0.0
            case _:
                pass

    def finish(
        self,
        at: float,
        exit_code: int,
        balance: Balance | None = None,
        period: PeriodRow | None = None,
    ) -> None:
        """Record the end of the command.

        ``balance`` and ``period`` are those of the report; None if there is none.
        """
        self.ended_at, self.exit_code = at, exit_code
        self.balance = balance or self.balance
        self.period = period
        if exit_code == 0:
            self.succeeded_at = at
