"""``--recover``: resume jobs bought by a lost run directory, risking one purchase at most.

The contract has no way to query a key without risking a purchase. So jobs are submitted one at a
time until an answer shows that the gateway remembers a key. The first answer that shows the
opposite ends the run, after one purchase.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from crucible_batch.core.credits import format_credits
from crucible_batch.core.gateway_types import ErrorInfo, Submission
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode

NOT_REMEMBERED = "NOT_REMEMBERED"
_HINT = "to buy the missing jobs, run the same command without --recover"


class Recovery:
    """Lets jobs pass one at a time until the gateway is known to remember keys; all together unless
    ``wanted``."""

    def __init__(self, stop: Shutdown, *, wanted: bool) -> None:
        self._stop = stop
        self._is_open = not wanted
        self._turn = asyncio.Lock()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until this job may be worked on: one at a time until the gateway has shown that it
        remembers keys.
        """
        if self._is_open:
            return nullcontext()
        return self._turn

    def saw(self, submission: Submission, *, in_doubt: bool) -> None:
        """Note the answer to a submit: a known key opens the way, a purchase ends the run.

        A key known after an unanswered try proves nothing: that try may have bought the job just
        now.
        """
        if self._is_open:
            return
        if submission.existing:
            self._is_open = in_doubt or not submission.after_doubt
            return
        cost = format_credits(submission.credits)
        self._end(
            f"the gateway did not know this job: it was bought now, for {cost} credits; "
            "nothing else is bought"
        )

    def forbids_upload(self) -> bool:
        """Whether images may not be uploaded now. If so, the run winds down with that reason."""
        if not self._is_open:
            self._end(
                "an input image is no longer at the gateway, "
                "so restoring the jobs would require a paid upload"
            )
        return not self._is_open

    def _end(self, message: str) -> None:
        self._stop.wind_down(ExitCode.STOPPED, ErrorInfo(NOT_REMEMBERED, message, hint=_HINT))
