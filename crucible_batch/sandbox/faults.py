"""What goes wrong, how often, and when: faults by name, parsed from text, drawn from a seed.

A fault strikes at one of seven stages of an exchange, and a stage draws at most one:

    exchange   any request, before its effect, or after it, when the answer is lost
    job        a job that is being accepted
    refund     a job that is being accepted and will fail: its refund
    picture    a job that is being accepted and will succeed: its pictures
    upload     bytes that have arrived for an asset
    signing    download URLs that are handed out
    body       the bytes of a download

The faults:

    429            429 before the effect, Retry-After in seconds
    429-date       429 before the effect, Retry-After as an HTTP date
    503-before     503 before the effect, Retry-After in seconds
    500-before     500 before the effect
    500-after      500 after the effect
    drop-before    connection closed without an answer, before the effect
    drop-after     connection closed without an answer, after the effect
    html           200 with a page of HTML in place of the JSON, after the effect
    empty          200 with an empty body, after the effect
    slow           the right answer, late, after the effect
    fail           the job fails with GENERATION_FAILED and is refunded
    moderate       the job fails with MODERATION_REFUSED
    slow-queue     the job runs much longer than it should
    refund-late    a failed job is refunded a minute after its end
    refund-partial half of a failed job's price is refunded
    refund-missing a failed job is never refunded
    black          the job's pictures are black
    never-ready    the upload is taken, the asset stays pending
    expired-url    download URLs that have expired already
    short-body     half the bytes under the Content-Length of all
    short-unsized  half the bytes without a Content-Length
    error-page     an XML error page under status 200
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from crucible_batch.sandbox.records import chance

# The names of the exchanges: the contract's ten operations, then the storage's two.
API_OPERATIONS = (
    "health",
    "credits",
    "workflows",
    "metadata",
    "asset-list",
    "asset-create",
    "asset-get",
    "asset-delete",
    "generate",
    "job",
)
STORAGE_OPERATIONS = ("upload", "download")
OPERATIONS = API_OPERATIONS + STORAGE_OPERATIONS

_EXCHANGES = frozenset(OPERATIONS) - {"health"}
_API = frozenset(API_OPERATIONS) - {"health"}


class Stage(Enum):
    EXCHANGE = "exchange"
    JOB = "job"
    REFUND = "refund"
    PICTURE = "picture"
    UPLOAD = "upload"
    SIGNING = "signing"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """The stage of a fault, and the operations that it strikes when none is named."""

    stage: Stage
    operations: frozenset[str]


KINDS = {
    kind: FaultKind(stage, operations)
    for stage, operations, kinds in (
        (Stage.EXCHANGE, _API, ("429", "429-date", "html")),
        (
            Stage.EXCHANGE,
            _EXCHANGES,
            ("503-before", "500-before", "500-after", "drop-before", "drop-after", "empty", "slow"),
        ),
        (Stage.JOB, frozenset({"generate"}), ("fail", "moderate", "slow-queue")),
        (
            Stage.REFUND,
            frozenset({"generate"}),
            ("refund-late", "refund-partial", "refund-missing"),
        ),
        (Stage.PICTURE, frozenset({"generate"}), ("black",)),
        (Stage.UPLOAD, frozenset({"upload"}), ("never-ready",)),
        (Stage.SIGNING, frozenset({"job", "asset-get"}), ("expired-url",)),
        (Stage.BODY, frozenset({"download"}), ("short-body", "short-unsized", "error-page")),
    )
    for kind in kinds
}
"""All faults by name. The head of this file has their effects."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault, and the operations that it strikes.

    It strikes with a probability, or the first exchanges up to a number.
    """

    kind: str
    operations: frozenset[str]
    probability: float = 0.0
    first: int = 0

    def strikes(self, seed: int, nth: int) -> bool:
        """Decide the rule's n-th matching exchange (from 1) by the seed alone.

        Rules do not influence each other.
        """
        if nth <= self.first:
            return True
        return chance(seed, self.kind, sorted(self.operations), nth) < self.probability


_RULE = re.compile(
    r"(?:(?P<operation>[a-z-]+)\.)?(?P<kind>[a-z0-9-]+)(?:(?P<sign>[:=])(?P<amount>[0-9.]+))?"
)


def parse_faults(text: str) -> tuple[FaultRule, ...]:
    """Read `[operation.]name:probability` and `[operation.]name=count`, separated by commas.

    `generate.500-after=2,slow:0.1` answers the first two submits with a 500 although they took
    effect, and a tenth of all exchanges late. Raises ValueError, with the names there are, for
    anything else.
    """
    return tuple(_parse_rule(part.strip()) for part in text.split(",") if part.strip())


def _parse_rule(text: str) -> FaultRule:
    match = _RULE.fullmatch(text)
    if match is None or match["sign"] is None:
        raise ValueError(f"fault {text!r} is neither name:probability nor name=count")
    kind, operation = match["kind"], match["operation"]
    if kind not in KINDS:
        raise ValueError(f"unknown fault {kind!r}; known are {', '.join(KINDS)}")
    operations = KINDS[kind].operations
    if operation is not None:
        operations = _restrict(kind, operation)
    try:
        if match["sign"] == "=":
            return FaultRule(kind, operations, first=int(match["amount"]))
        probability = float(match["amount"])
    except ValueError as error:
        raise ValueError(f"fault {text!r} has no number after its sign") from error
    if probability > 1:
        raise ValueError(f"fault {text!r} has a probability above 1; a count is written {kind}=N")
    return FaultRule(kind, operations, probability=probability)


def _restrict(kind: str, operation: str) -> frozenset[str]:
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r}; known are {', '.join(OPERATIONS)}")
    # An exchange fault may be sent where it does not strike by itself (429 from the storage);
    # others make no sense.
    usual = KINDS[kind].operations
    if KINDS[kind].stage is not Stage.EXCHANGE and operation not in usual:
        raise ValueError(
            f"fault {kind!r} can't strike {operation!r}, only {', '.join(sorted(usual))}"
        )
    return frozenset({operation})


class Faults:
    """The rules in force, and what they have struck so far."""

    def __init__(self, rules: Iterable[FaultRule], seed: int) -> None:
        self._seed = seed
        self.fired: Counter[tuple[str, str]] = Counter()
        self.replace(rules)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Put other rules in force; their counts start at 0, what has fired stays on record."""
        self._rules = tuple(rules)
        self._seen: Counter[int] = Counter()

    def draw(self, operation: str, stage: Stage) -> str | None:
        """Name the fault that strikes this exchange at this stage, if one does.

        The first rule that strikes wins.
        """
        for position, rule in enumerate(self._rules):
            if operation not in rule.operations or KINDS[rule.kind].stage is not stage:
                continue
            self._seen[position] += 1
            if rule.strikes(self._seed, self._seen[position]):
                self.fired[operation, rule.kind] += 1
                return rule.kind
        return None
