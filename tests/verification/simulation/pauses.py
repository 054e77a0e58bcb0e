"""Commands to a running run, judged by what leaves for the gateway and by the rows of its ledger.

From the answer to ``pause`` until ``resume`` is given, and from the answer to ``stop`` on, nothing
new is bought: no job under a new key and no upload. Only a submit that left before in this run, and
was not answered, is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.verification.simulation.virtual_time import true_now


@dataclass
class Pauses:
    """Follows the processes of one seed.

    ``complain`` is told of each purchase that is not allowed.
    """

    complain: Callable[[str], None]
    count: int = 0
    """How many pauses there were in which something could have been bought."""
    _since: float | None = None
    _is_final: bool = False
    _ended: list[tuple[float, float]] = field(default_factory=list)
    _in_doubt: set[str] = field(default_factory=set)
    _left_at: dict[str, float] = field(default_factory=dict)

    def born(self) -> None:
        """A process begins unpaused, and what an earlier one left in doubt is new to it."""
        self._is_final = False
        self.end()
        self._in_doubt.clear()

    def begin(self, *, is_final: bool) -> None:
        """A run has answered that it is paused, or that it stops: then nothing ends it."""
        self._is_final = self._is_final or is_final
        if self._since is None:
            self._since = true_now()
            self.count += 1

    def end(self) -> None:
        """A run is about to be resumed, or its process is gone."""
        if self._since is not None and not self._is_final:
            self._ended.append((self._since, true_now()))
            self._since = None

    def leaves(self, key: str, what: str) -> None:
        """A request that buys leaves under a key, or an upload's under its nonce."""
        self._left_at.setdefault(key, true_now())
        if self._since is not None and key not in self._in_doubt:
            self.complain(
                f"{what} was sent {true_now() - self._since:.2f} s after the "
                "answer to a pause or a stop"
            )

    def failed(self, key: str, *, in_doubt: bool) -> None:
        """It was not answered with success.

        ``in_doubt``: it may have been bought, and no later refusal ends that.
        """
        if in_doubt:
            self._in_doubt.add(key)

    def charged(self, key: str, at: float, what: str) -> None:
        """The ledger has a row for a purchase under a key."""
        left_at = self._left_at.get(key)
        pauses = [*self._ended, *([] if self._since is None else [(self._since, at)])]
        if left_at is not None and any(since < left_at <= at <= until for since, until in pauses):
            self.complain(f"{what} was bought in a pause")
