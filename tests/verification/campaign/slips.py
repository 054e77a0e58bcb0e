"""Slips: one-line mistakes that each take one safety out of the product, and the tests that have to
notice.

A slip is made by this pytest plugin before any test is imported:

    python -m pytest -p tests.verification.campaign.slips --slip "redirects followed"
    tests/unit/gateway
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import textwrap
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from filelock import SoftFileLock
from httpx import AsyncClient

from crucible_batch.core import budget, credits, identity, refunds
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_statement import Clocks, EntryKind, Statement, entry_kind
from crucible_batch.core.refunds import FailedAttempt
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.downloads import Downloader
from crucible_batch.engine.job_worker import JobWorker
from crucible_batch.engine.ledger_reader import LedgerReader
from crucible_batch.features import registry
from crucible_batch.features.agents import part as spend_cap
from crucible_batch.features.periods.part import PeriodPart
from crucible_batch.gateway import retries, storage, transport
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.transport import HttpxChannel, KeyChannel
from crucible_batch.gateway.url_guard import LinkGuard
from crucible_batch.journal import lock
from crucible_batch.manifest import names
from crucible_batch.manifest.files import Files
from crucible_batch.outputs import OutputStore, safe_fs, temp_file
from crucible_batch.outputs.safe_fs import Folder
from crucible_batch.planner import Planner
from crucible_batch.runs import request, running
from crucible_batch.runs import start as run_start


@dataclass(frozen=True)
class Slip:
    """What is done wrong, and where that has to show."""

    make: Callable[[], None]
    noticed_by: str


def _client_options(client: type, **wrong: Any) -> Callable[[], None]:
    """Have every HTTP client of a library made with other options than ours."""

    def make() -> None:
        right = client.__init__  # type: ignore[misc]

        def init(self: Any, *args: Any, **options: Any) -> None:
            right(self, *args, **{**options, **wrong})

        client.__init__ = init  # type: ignore[misc]

    return make


def _set(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _storage_with_a_key() -> None:
    right = HttpxChannel.send

    async def send(self: HttpxChannel, method: str, url: str, headers: Any, *body: Any) -> Any:
        return await right(
            self, method, url, {**headers, "Authorization": "Bearer moltazine_key"}, *body
        )

    HttpxChannel.send = send  # type: ignore[method-assign]


def _key_to_any_origin() -> None:
    transport.origin = lambda _url: ("", "", None)
    right = KeyChannel.__init__

    def init(self: KeyChannel, *args: Any) -> None:
        right(self, *args)
        self._start = ""

    KeyChannel.__init__ = init  # type: ignore[method-assign]


def _through_floats(value: Any) -> str:
    return json.dumps(
        json.loads(json.dumps(value), parse_int=float), sort_keys=True, separators=(",", ":")
    )


def _from_float(value: Any) -> Decimal:
    return Decimal(float(value))


def _nothing(*_anything: object) -> None:
    return None


def _text_normalised() -> None:
    right = identity._canonical_text
    identity._canonical_text = lambda value: right(unicodedata.normalize("NFC", value))


def _refusal_after_doubt_believed() -> None:
    right = JobWorker._not_accepted

    def believe(self: JobWorker, job: Any, error: Any) -> Any:
        error.in_doubt = False
        return right(self, msgspec.structs.replace(job, in_doubt=False), error)

    JobWorker._not_accepted = believe  # type: ignore[method-assign]


def _links_followed() -> None:
    os.O_NOFOLLOW = 0  # type: ignore[misc]
    safe_fs._NO_LINK = os.O_CLOEXEC


def _written_once(descriptor: int, block: bytes) -> None:
    os.write(descriptor, block)


def _built_otherwise(owner: type, field: str, value: object) -> Callable[[], None]:
    """Have every object of a class begin with another value in a field."""

    def make() -> None:
        right = owner.__init__  # type: ignore[misc]

        def init(self: Any, *args: Any, **options: Any) -> None:
            right(self, *args, **options)
            object.__setattr__(self, field, value)

        owner.__init__ = init  # type: ignore[misc]

    return make


def _rewritten(function: Callable[..., Any], *changes: tuple[str, str]) -> Callable[[], None]:
    """Compile a function with other text.

    It stays the same object: who has imported it has the mistake as well.
    """

    def make() -> None:
        inner = inspect.unwrap(function)
        source = textwrap.dedent(inspect.getsource(inner))
        for right, wrong in changes:
            assert source.count(right) == 1, (
                f"{right!r} is {source.count(right)} times in {function.__name__}"
            )
            source = source.replace(right, wrong)
        names: dict[str, Any] = {}
        exec("from __future__ import annotations\n" + source, inner.__globals__, names)
        inner.__code__ = inspect.unwrap(names[inner.__name__]).__code__

    return make


def _begun_after(early: str, late: str) -> Callable[[], None]:
    """Let a part of a run begin after one that begins later."""

    def make() -> None:
        moved = next(row for row in registry._RUN_PARTS if row[0] == early)
        rows = [row for row in registry._RUN_PARTS if row is not moved]
        at = [row[0] for row in rows].index(late)
        assert registry._RUN_PARTS.index(moved) <= at
        registry._RUN_PARTS = (*rows[: at + 1], moved, *rows[at + 1 :])

    return make


def _all(*makes: Callable[[], None]) -> Callable[[], None]:
    def make() -> None:
        for each in makes:
            each()

    return make


def _repeat_left_out() -> None:
    right = identity.job_identity
    identity.job_identity = lambda *, repeat, **content: right(repeat=1, **content)


class _Cased(str):
    """A text that folds no case."""

    __slots__ = ()

    def casefold(self) -> _Cased:
        return self


def _case_kept() -> None:
    right = unicodedata.normalize
    names.unicodedata = SimpleNamespace(  # type: ignore[assignment]
        normalize=lambda form, text: _Cased(right(form, text)), category=unicodedata.category
    )


def _entries_counted_again() -> None:
    right = FailedAttempt.after

    def after(self: FailedAttempt, event: Any) -> FailedAttempt:
        return right(
            dataclasses.replace(self, refunds_seen=frozenset(), charges_seen=frozenset()), event
        )

    FailedAttempt.after = after  # type: ignore[method-assign]


def _gap_not_noticed() -> None:
    right = LedgerCoverage.after

    def after(self: LedgerCoverage, reading: LedgerCoverage) -> LedgerCoverage:
        return dataclasses.replace(right(self, reading), since=self.since)

    LedgerCoverage.after = after  # type: ignore[method-assign]


def _holds_of_attempts_replaced() -> None:
    right = Ledger._await_refund

    def replace(self: Ledger, subject: str, attempt: Any, price: Decimal, at: float) -> None:
        for known in [place for place in self._failed if place[0] == subject]:
            self._held_for_refunds -= self._failed.pop(known).held
        right(self, subject, attempt, price, at)

    Ledger._await_refund = replace  # type: ignore[method-assign]


def _unseen_refunds_taken_for_missing() -> None:
    LedgerReader._would_be_seen = lambda _self, _attempt: True  # type: ignore[method-assign]


def _bought_taken_for_found() -> None:
    held = property(lambda self: self._accounting.ledger.held_for_refunds)
    LedgerReader.invisible_of_found = held  # type: ignore[method-assign,assignment]


def _readings_shared_with_all() -> None:
    right = LedgerReader.read

    async def read(self: LedgerReader) -> Any:
        if self._reading.locked():
            async with self._reading:
                return self._account
        return await right(self)

    LedgerReader.read = read  # type: ignore[method-assign]


def _shown_as_soon_as_read() -> None:
    right = Clocks.surely_shown

    def surely_shown(self: Clocks, statement: Statement, begun: float) -> bool:
        return any(each.covers(begun) for each in statement.coverages) or right(
            self, statement, begun
        )

    Clocks.surely_shown = surely_shown  # type: ignore[method-assign]


async def _nothing_awaited(*_anything: object) -> None:
    return None


_EFFECTS = "features/together/test_order_of_effects.py"
_BEGIN = "    grant = await parts.begin(stack, replace(opened, context=source.context))\n"
_PERIOD = "features/periods/test_period_runs.py"

SLIPS: Mapping[str, Slip] = {
    "the environment asked": Slip(_client_options(ClientSession, trust_env=True), "unit/gateway"),
    "redirects followed": Slip(_client_options(AsyncClient, follow_redirects=True), "unit/gateway"),
    "the key sent to any origin": Slip(_key_to_any_origin, "unit/gateway/test_secrets.py"),
    "storage asked with the key": Slip(_storage_with_a_key, "unit/gateway/test_storage.py"),
    "an encoded download accepted": Slip(
        _set(storage, "is_encoded", lambda _headers: False), "unit/gateway/test_storage.py"
    ),
    "a storage url not checked": Slip(
        _set(LinkGuard, "check", _nothing), "unit/gateway/test_storage.py"
    ),
    "the key in its own repr": Slip(
        _set(ApiKey, "__repr__", ApiKey.reveal), "unit/gateway/test_secrets.py"
    ),
    "every answer tried again": Slip(
        _set(retries, "is_worth_retrying", lambda _error: True), "unit/gateway"
    ),
    "canonical json through floats": Slip(
        _set(identity, "canonical", _through_floats), "unit/core/test_identity.py"
    ),
    "text normalised in the key": Slip(_text_normalised, "unit/core/test_identity.py"),
    "the repeat left out of the key": Slip(_repeat_left_out, "unit/core/test_identity.py"),
    "credits from binary floats": Slip(
        _set(credits, "_finite", _from_float), "unit/core/test_credits.py"
    ),
    "duplicate jobs merged in silence": Slip(
        _built_otherwise(Planner, "_duplicates", "once"), "unit/test_planner.py"
    ),
    "another parameter filled once the list has changed": Slip(
        _built_otherwise(Planner, "_filled", {}), "unit/test_planner.py"
    ),
    "a deleted source embedded as asked now": Slip(
        _built_otherwise(Downloader, "_same_bytes", False), "features/stages/test_stage_runs.py"
    ),
    "a budget that no journal can hold": Slip(
        _set(request, "read_budget", lambda budget: budget), "unit/runs/test_arguments.py"
    ),
    "a refusal after doubt believed": Slip(
        _refusal_after_doubt_believed, "integration/engine/test_perform.py"
    ),
    "a failed job's credits released": Slip(
        _set(Ledger, "_await_refund", _nothing), "unit/core/test_refunds.py"
    ),
    "the hold of an attempt replaced by the next one's": Slip(
        _holds_of_attempts_replaced, "unit/core/test_refunds.py"
    ),
    "an entry counted again": Slip(_entries_counted_again, "unit/core/test_refunds.py"),
    "a pending refund counted": Slip(
        _set(
            refunds,
            "is_booked_refund",
            lambda entry: entry_kind(entry, of_job=True) is EntryKind.REFUND,
        ),
        "unit/core/test_refunds.py",
    ),
    "a missing refund called an empty budget": Slip(
        _set(budget, "REFUND_MISSING", budget.BUDGET_EXHAUSTED), "unit/core/test_budget.py"
    ),
    "a gap in the ledger not noticed": Slip(_gap_not_noticed, "unit/core/test_ledger_coverage.py"),
    "a bought attempt taken for one that was found": Slip(
        _bought_taken_for_found, "unit/engine/test_ledger_reader.py"
    ),
    "a refund that may not be shown taken for missing": Slip(
        _unseen_refunds_taken_for_missing, "unit/engine/test_ledger_reader.py"
    ),
    "a reading shared with a caller that came later": Slip(
        _readings_shared_with_all, "unit/engine/test_ledger_reader.py"
    ),
    "the ledger not read at the end": Slip(
        _set(LedgerReader, "end", _nothing_awaited), "unit/engine/test_ledger_reader.py"
    ),
    "as much bought after a gap": Slip(
        _set(LedgerReader, "before_purchase", _nothing_awaited), "unit/engine/test_ledger_reader.py"
    ),
    "what a found attempt holds uncounted for ever": Slip(
        _set(Admission, "uncounted", property(lambda self: self._reader.invisible_of_found)),
        "unit/engine/test_refund_admission.py",
    ),
    "an entry expected as soon as it was made": Slip(
        _shown_as_soon_as_read, "unit/core/test_ledger_statement.py"
    ),
    "a file that is there for a lock": Slip(
        _set(lock, "FileLock", SoftFileLock), "unit/journal/test_locking.py"
    ),
    "links followed at an output's place": Slip(_links_followed, "unit/outputs/test_store.py"),
    "a user's file written over": Slip(
        _set(Folder, "claim", Folder.replace), "unit/outputs/test_store.py"
    ),
    "a far larger output taken": Slip(
        _built_otherwise(OutputStore, "_max_bytes", 10_000_000), "unit/outputs/test_store.py"
    ),
    "a short write taken for a whole one": Slip(
        _set(temp_file, "_write_all", _written_once), "unit/outputs/test_store.py"
    ),
    "images from anywhere": Slip(
        _set(Files, "is_inside", lambda _self, _path: True), "unit/manifest/test_files.py"
    ),
    "names told apart by their case alone": Slip(_case_kept, "unit/manifest/test_names.py"),
    # The order of a run's effects, and the budget of a period.
    "the period begins before the cap": Slip(
        _begun_after("agents.part:SpendCapPart", "periods.part:PeriodPart"), _EFFECTS
    ),
    "the metrics around the notices": Slip(
        _begun_after("notify.part:NoticesPart", "telemetry.part:TelemetryPart"), _EFFECTS
    ),
    "cap and period begin before restoring": Slip(
        _rewritten(
            run_start.start_run,
            (_BEGIN, ""),
            ("    await restore_run(\n", f"{_BEGIN}    await restore_run(\n"),
        ),
        _EFFECTS,
    ),
    "the run's first event counted from after restoring": Slip(
        _rewritten(
            run_start.start_run,
            (
                "parts.begin(stack, replace(opened, context=source.context))",
                "parts.begin(stack, OpenedRun(context, journal, after=journal.last_number()))",
            ),
        ),
        _PERIOD,
    ),
    "the key remembered after the parts have begun": Slip(
        _all(
            _rewritten(
                run_start.restore_run, ("journal.remember_key(", "journal.__class__.late = (")
            ),
            _rewritten(
                run_start.start_run,
                (
                    "    log = await source",
                    "    journal.remember_key(journal.late)\n    log = await source",
                ),
            ),
        ),
        _EFFECTS,
    ),
    "the log taken before the parts have begun": Slip(
        _rewritten(
            run_start.start_run,
            ("    log = await source.take_log(journal)\n", ""),
            (
                "    journal.adopt(draft)\n",
                "    journal.adopt(draft)\n    log = await source.take_log(journal)\n",
            ),
        ),
        _EFFECTS,
    ),
    "commands taken until the end is recorded": Slip(
        _rewritten(running._run_jobs, ("    journal.end_run(", "        journal.end_run(")),
        _EFFECTS,
    ),
    "the period settled before the end is recorded": Slip(
        _rewritten(
            running._run_jobs,
            ("    await parts.ended(ending)\n", ""),
            ("    journal.end_run(", "    await parts.ended(ending)\n    journal.end_run("),
        ),
        _EFFECTS,
    ),
    "the report published before it is notified": Slip(
        _rewritten(
            running._report,
            ("    await publish_report(journal, context.store)\n", ""),
            (
                "    await parts.reported(",
                "    await publish_report(journal, context.store)\n    await parts.reported(",
            ),
        ),
        _EFFECTS,
    ),
    "the period settled when all is closed": Slip(
        _rewritten(PeriodPart.ended, ("self._settle(ending)", "pass")), _EFFECTS
    ),
    "a cap not settled after an error": Slip(
        _rewritten(
            spend_cap.capped,
            ("try:\n        yield\n    finally:", "if True:\n        yield\n    if True:"),
        ),
        _EFFECTS,
    ),
    "a grant that only lowers the budget": Slip(
        _rewritten(
            running._finish, ("budget=grant.budget", "budget=min(grant.budget, terms.budget)")
        ),
        _PERIOD,
    ),
    "the budget recorded without what is committed": Slip(
        _rewritten(
            PeriodPart.begin, ("max(allowance.budget, allowance.committed)", "allowance.budget")
        ),
        _PERIOD,
    ),
    "a period's budget not explained": Slip(
        _rewritten(PeriodPart.begin, ("allowance.granted.explain\n", "lambda error: error\n")),
        _PERIOD,
    ),
}
"""Each slip by its name; ``noticed_by`` is below ``tests``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slip", choices=sorted(SLIPS), help="the mistake to make")


def pytest_configure(config: pytest.Config) -> None:
    slip = config.getoption("--slip")
    if slip is not None:
        SLIPS[slip].make()
