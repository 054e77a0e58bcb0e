"""What goes wrong at the port, how often, and a count of what did.

before    the request never took effect
after     it did, and the answer is lost or unreadable
late      the right answer, after seconds
overdue   the caller has given up; the request takes effect much later
"""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.gateway.retries import Operation

_STORAGE = frozenset({Operation.UPLOAD, Operation.DOWNLOAD})
_USED = frozenset(
    {
        Operation.GENERATE,
        Operation.JOB,
        Operation.CREDITS,
        Operation.ASSETS,
        Operation.ASSET,
        Operation.CREATE_ASSET,
        Operation.DELETE_ASSET,
        *_STORAGE,
    }
)
_API = _USED - _STORAGE
_BUYING = frozenset({Operation.GENERATE, Operation.CREATE_ASSET})
_DOWNLOAD = frozenset({Operation.DOWNLOAD})
_JOB = frozenset({Operation.JOB})


class Moment(enum.Enum):
    """When a fault strikes an exchange; ASIDE: it bends the answer or the world, and the exchange
    itself goes well.
    """

    BEFORE = "before"
    AFTER = "after"
    LATE = "late"
    OVERDUE = "overdue"
    ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: when, at which operations, and what the answer looks like (``status``
    None: none comes).
    """

    name: str
    moment: Moment
    operations: frozenset[Operation]
    status: int | None = None
    code: str = ""


_FAULTS = (
    Fault("drop-before", Moment.BEFORE, _USED),
    Fault("drop-after", Moment.AFTER, _USED),
    Fault("500-before", Moment.BEFORE, _USED, 500, "INTERNAL"),
    Fault("500-after", Moment.AFTER, _USED, 500, "INTERNAL"),
    Fault("503", Moment.BEFORE, _USED, 503, "HTTP_503"),
    Fault("502-page", Moment.AFTER, _USED, 502, "HTTP_502"),
    Fault("html-200", Moment.AFTER, _API, 200, "BAD_ANSWER"),
    Fault("429", Moment.BEFORE, _USED, 429, "RATE_LIMITED"),
    Fault("401", Moment.BEFORE, _API, 401, "UNAUTHORIZED"),
    Fault("402", Moment.BEFORE, _BUYING, 402, "INSUFFICIENT_CREDITS"),
    Fault("402-page", Moment.BEFORE, _BUYING, 402, "HTTP_402"),
    Fault("404-page", Moment.BEFORE, _API, 404, "HTTP_404"),
    Fault(
        "workflow-gone", Moment.BEFORE, frozenset({Operation.GENERATE}), 404, "WORKFLOW_NOT_FOUND"
    ),
    Fault("409", Moment.BEFORE, frozenset({Operation.GENERATE}), 409, "CONFLICT"),
    Fault("late", Moment.LATE, _USED),
    Fault("overdue", Moment.OVERDUE, _USED - _DOWNLOAD),
    Fault("partition", Moment.BEFORE, _USED),
    Fault("job-lost", Moment.ASIDE, _JOB),
    Fault("odd-status", Moment.ASIDE, _JOB),
    Fault("no-links", Moment.ASIDE, _JOB),
    Fault("no-outputs", Moment.ASIDE, _JOB),
    Fault("expired-download", Moment.ASIDE, _JOB),
    Fault("expired-upload", Moment.ASIDE, frozenset({Operation.CREATE_ASSET})),
    Fault("list-lag", Moment.ASIDE, frozenset({Operation.ASSETS})),
    Fault("refund-lag", Moment.ASIDE, frozenset({Operation.CREDITS, *_BUYING})),
    Fault("cut", Moment.ASIDE, _DOWNLOAD),
    Fault("cut-unsized", Moment.ASIDE, _DOWNLOAD),
    Fault("unsized", Moment.ASIDE, _DOWNLOAD),
    Fault("padded", Moment.ASIDE, _DOWNLOAD),
    Fault("error-page", Moment.ASIDE, _DOWNLOAD),
    Fault("stranger-buys", Moment.ASIDE, _API),
    Fault(
        "stranger-deletes",
        Moment.ASIDE,
        frozenset({Operation.JOB, Operation.ASSET, Operation.ASSETS}),
    ),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}


class Weather:
    """The faults in force.

    ``rates`` are probabilities by name; ``longest_partition_s`` bounds a silence.
    """

    def __init__(
        self, rates: Mapping[str, float], chance: random.Random, *, longest_partition_s: float
    ) -> None:
        self.fired: Counter[str] = Counter()
        self.cut_off = 0
        """Exchanges that fell into a partition which had begun before them."""
        self._rates = dict(rates)
        self._chance = chance
        self._longest_partition_s = longest_partition_s
        self._cut_off_until_s = 0.0

    @property
    def felt(self) -> int:
        """How often anything went wrong."""
        return self.fired.total() + self.cut_off

    def clear_up(self) -> None:
        """Nothing goes wrong from now on."""
        self._rates.clear()
        self._cut_off_until_s = 0.0

    def exchange(self, operation: Operation, now_s: float) -> Fault | None:
        """Draw what befalls an exchange as a whole; at most one fault."""
        if now_s < self._cut_off_until_s:
            self.cut_off += 1
            return FAULTS["partition"]
        for name in self._rates:
            fault = FAULTS[name]
            if fault.moment is not Moment.ASIDE and self.strikes(name, operation):
                if name == "partition":
                    self._cut_off_until_s = now_s + self._chance.uniform(
                        0.1, self._longest_partition_s
                    )
                return fault
        return None

    def strikes(self, name: str, operation: Operation) -> bool:
        """Draw whether one kind strikes at this operation now."""
        rate = self._rates.get(name, 0.0)
        if not rate or operation not in FAULTS[name].operations or self._chance.random() >= rate:
            return False
        self.fired[name] += 1
        return True
