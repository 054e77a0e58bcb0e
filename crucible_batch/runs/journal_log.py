"""A journal in an object store, or in a directory that several machines share, as a log of
numbered objects.

One process at a time can continue it.

    .crucible/log/00000001.json                     rows of the run's journal, in their order
    .crucible/log/journal.json                      the entries up to a number as one, written at
                                                    the end of a run
    .crucible/shards/0a1b2c3d/3-of-8/00000001.json  the same of a shard

An entry is created only if no object has its name. So of two processes that continue from the same
entry, one gets the next number, and the other learns that it has lost the log. Each process
begins with an entry of its own: from then on no other can add one. A purchase is sent when the
entry with its hold is in the store, so that the next process that continues the log knows
everything that was bought, or may still be.

Each entry has the figures of the run, and while it is active one is added every ``TICK_S``. So the
log is also the sign of life, and the progress, for those who follow it.

    what happens                                    who continues knows
    killed before the entry of a hold               nothing of it: it was not sent
    killed between the entry and the answer         the hold: the same key is sent again
    killed after the answer, before the next entry  the hold: the same key finds the job
    frozen, and continued by another                the hold; what the frozen process does next has
                                                    no entry, and is not sent
    its clock set back                              the same: no time decides
    a shard merged or abandoned                     that the log is closed: nothing is added
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from crucible_batch.core.events import Event, Held, Intended, Prepared, Relocated
from crucible_batch.engine import Clock
from crucible_batch.errors import JournalError, ObjectStoreError, RunBusyError
from crucible_batch.journal import Journal, JournalRows, rows_after
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.logged_figures import LoggedFigures

logger = logging.getLogger(__name__)

Closed = Literal["", "merged", "abandoned"]
"""Why nothing is added to a log any more; empty if it is open."""
TICK_S = 2.0
"""The time after which an active run adds an entry, whatever it has done."""
_SUMMARY = "journal.json"
_NUMBERED = re.compile(r"/([0-9]{8})\.json$")
_AT_ONCE = 16
MOST_IN_SUMMARY = 50_000
"""Events above which a log isn't summed up: all of them are in memory for that."""


class LogTakenError(RunBusyError):
    """Another process has continued the log, or a merge has closed that of a shard.

    Nothing more may be bought.
    """


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One object of a log, written by the process ``writer``.

    ``of`` is what the log is of. ``closed`` is why nothing may follow, else empty. ``figures``
    are those of its run, None before that has begun. ``last`` is the number of the newest event up
    to this entry, and ``digest`` that event's digest. ``through`` is the number of the last entry
    that a summary stands for; 0 in the entries themselves.
    """

    of: Mapping[str, str]
    writer: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]  # becomes part of a file name
    rows: JournalRows
    closed: Closed = ""
    figures: LoggedFigures | None = None
    last: Annotated[int, Field(ge=0)] = 0
    digest: str = ""
    through: Annotated[int, Field(ge=0)] = 0
    version: int = 1


_ENTRY: TypeAdapter[JournalEntry] = TypeAdapter(JournalEntry)


@dataclass(frozen=True, slots=True)
class LogState:
    """What a log has.

    ``position`` is the number of its last entry, and ``writer`` who wrote rows last, with
    ``figures``. ``last`` is the number of the newest event, 0 if there is none, and ``digest`` that
    event's digest; empty in a log of an earlier release. ``entries`` are empty if only the end was
    read.
    """

    position: int = 0
    writer: str = ""
    closed: Closed = ""
    figures: LoggedFigures | None = None
    last: int = 0
    digest: str = ""
    entries: Sequence[JournalRows] = ()

    @property
    def may_be_running(self) -> bool:
        """Whether the newest run has no end: it is active somewhere, or was killed."""
        if not self.position or self.closed:
            return False
        return self.figures is None or self.figures.exit_code is None


@dataclass(slots=True)
class JournalLog:
    """The log of one run or shard, which is ``name`` in messages. ``read`` comes first.

    Its objects are below ``prefix``, and each has ``of``.
    """

    objects: ObjectPort
    prefix: str
    of: Mapping[str, str]
    name: str
    writer: str = field(default_factory=lambda: secrets.token_hex(16))
    position: int = 0
    last: int = 0
    """The number of the newest event in the log."""
    digest: str = ""
    """The digest of that event."""
    closed: Closed = ""
    figures: Callable[[], LoggedFigures | None] = lambda: None
    """Returns the figures for the next entry."""

    async def read(self) -> LogState:
        """Read the log to its end.

        Raises ``JournalError`` if it is damaged, and ``ObjectStoreError``.
        """
        writer, figures, rows = "", None, list[JournalRows]()
        self.position, self.last, self.digest, self.closed = 0, 0, "", ""
        summary = await self._decoded(_SUMMARY)
        if summary is not None:
            writer, figures, rows = summary.writer, summary.figures, [summary.rows]
            self.position = summary.through
            self.last, self.digest = summary.rows.last, summary.rows.digest
        last = await self._last_listed()
        more = await self._some_after(self.position, last)
        while more:
            for entry in more:
                self._check(entry)
                self.position, self.closed = self.position + 1, entry.closed
                if not entry.closed:
                    writer, figures = entry.writer, entry.figures
                    self.last = max(self.last, entry.rows.last)
                    self.digest = entry.rows.digest or self.digest
                    rows.append(entry.rows)
            more = await self._some_after(self.position, last)
        return LogState(self.position, writer, self.closed, figures, self.last, self.digest, rows)

    async def read_end(self) -> LogState:
        """Read the newest entry only: enough for a journal that has all of the log.

        A log whose newest entry closes it counts as empty here. Raises as ``read`` does.
        """
        entry = await self.newest()
        if entry is None or entry.closed:
            return LogState()
        return LogState(self.position, entry.writer, "", entry.figures, self.last, self.digest)

    async def newest(self) -> JournalEntry | None:
        """Return the newest entry without reading those before it; None if there is none.

        Only what follows it is read from then on. Raises as ``read`` does.
        """
        self.last, self.digest, self.closed = 0, "", ""
        entry, self.position = None, max(0, await self._last_listed() - 1)
        while (following := await self.next()) is not None:
            entry = following
        return entry

    async def next(self) -> JournalEntry | None:
        """Return the entry after those that were read; None if there is none yet.

        Raises as ``read`` does.
        """
        entry = await self._decoded(f"{self.position + 1:08}.json")
        if entry is not None:
            self._check(entry)
            self.position, self.closed = self.position + 1, entry.closed
            self.last = max(self.last, entry.last)
            self.digest = entry.digest or entry.rows.digest or self.digest
        return entry

    async def append(self, rows: JournalRows) -> None:
        """Add rows at the end.

        Raises ``LogTakenError`` if another process has, and ``ObjectStoreError``. A request that
        was cancelled, or whose answer was lost, may have added an entry of this process: it counts.
        """
        while True:
            entry = JournalEntry(
                self.of,
                self.writer,
                rows,
                figures=self.figures(),
                last=max(self.last, rows.last),
                digest=rows.digest or self.digest,
            )
            found = await self._created(entry)
            self.position += 1
            self.last = max(self.last, found.rows.last)
            self.digest = found.rows.digest or self.digest
            if found == entry:
                return
            rows = rows.after(self.last)

    async def close(self, why: Closed) -> None:
        """Close the log after what was read, for all processes. Raises as ``append`` does."""
        entry = JournalEntry(
            self.of,
            self.writer,
            JournalRows(),
            closed=why,
            last=self.last,
            digest=self.digest,
        )
        await self._created(entry)
        self.position, self.closed = self.position + 1, why

    async def sum_up(self, rows: JournalRows) -> None:
        """Store all rows up to the last entry as one object, which saves readers many requests."""
        if rows.last != self.last:
            return
        content = _ENTRY.dump_json(
            JournalEntry(
                self.of,
                self.writer,
                rows,
                figures=self.figures(),
                last=self.last,
                digest=self.digest,
                through=self.position,
            )
        )
        key = f"{self.prefix}/{_SUMMARY}"
        if await self.objects.create(key, content):
            return
        info = await self.objects.info(key)
        if info is not None:
            await self.objects.replace(key, content, info)

    async def _created(self, entry: JournalEntry) -> JournalEntry:
        """Create the next object, and return the entry that it has then: one of this process."""
        name = f"{self.position + 1:08}.json"
        if await self.objects.create(f"{self.prefix}/{name}", _ENTRY.dump_json(entry)):
            return entry
        found = await self._decoded(name)
        if found is None or found.writer != self.writer:
            raise self._taken(found)
        return found

    def _taken(self, found: JournalEntry | None) -> LogTakenError:
        if found is not None and found.closed:
            return LogTakenError(
                f"{self.name} was {found.closed}: nothing more is bought for it",
                hint="what was bought before is in the journal of the main run",
            )
        return LogTakenError(
            f"another process continues {self.name}: this one buys nothing more",
            hint="let that one finish; nothing is bought twice, and nothing that was bought is"
            " lost",
        )

    async def _last_listed(self) -> int:
        """Return the number of the last entry that the store lists.

        By it, a gap is not taken for the end of the log.
        """
        found = map(_NUMBERED.search, await self.objects.names(self.prefix))
        return max((int(match[1]) for match in found if match), default=0)

    async def _some_after(self, position: int, last: int) -> list[JournalEntry]:
        # The one after the last is read, too: it may have been added since.
        count = min(_AT_ONCE, max(last - position, 0) + 1)
        names = [f"{number:08}.json" for number in range(position + 1, position + 1 + count)]
        found = await asyncio.gather(*(self._decoded(name) for name in names))
        entries = [entry for entry in found if entry is not None]
        if None in found[: max(len(entries), last - position)]:
            missing = names[found.index(None)]
            if await self._decoded(missing) is not None:  # added while it was read
                return await self._some_after(position, last)
            raise JournalError(
                f"{self.objects.address(f'{self.prefix}/{missing}')} is missing: the log of"
                f" {self.name} has more after it",
                hint=f"restore the object; without it, what was bought for {self.name} is not"
                " known",
            )
        return entries

    async def _decoded(self, name: str) -> JournalEntry | None:
        content = await self.objects.read(f"{self.prefix}/{name}")
        if content is None:
            return None
        try:
            entry = _ENTRY.validate_json(content)
        except ValidationError as error:
            raise self._damaged(name, "can't be read") from error
        if (entry.of, entry.version) != (self.of, 1):
            raise self._damaged(name, f"is not of {self.name}, or of a newer release")
        return entry

    def _check(self, entry: JournalEntry) -> None:
        numbers = [self.last, *(number for number, *_ in entry.rows.events)]
        if self.closed or any(later <= earlier for earlier, later in pairwise(numbers)):
            raise self._damaged(f"{self.position + 1:08}.json", "doesn't follow the one before")

    def _damaged(self, name: str, why: str) -> JournalError:
        return JournalError(
            f"{self.objects.address(f'{self.prefix}/{name}')} {why}",
            hint="it was edited or is damaged: restore it; nothing was bought",
        )


def is_before_purchase(event: Event) -> bool:
    """Whether the next request for its subject may buy something.

    The event has to be in the log before. A job with images is submitted after ``Prepared``, and
    its images are bought after ``Intended``.
    """
    return isinstance(event, Prepared | Intended) or (isinstance(event, Held) and not event.images)


def is_logged_first(event: Event) -> bool:
    """Whether the log has to have an event before what follows it: a purchase, or another output in
    the place of one that was moved."""
    return is_before_purchase(event) or isinstance(event, Relocated)


@dataclass(slots=True)
class LoggedJournal:
    """A journal whose purchases are in the log before they are sent.

    Many events become one entry: all that are stored while another entry is in flight.
    """

    journal: Journal
    log: JournalLog
    _known: JournalRows = field(default_factory=JournalRows, init=False)
    """The runs and notes that the log has of this process."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def append(self, subject: str, event: Event) -> None:
        """Return once the event is durable, and in the log if it has to be there first.

        Raises ``JournalError``, ``LogTakenError`` and ``ObjectStoreError``: the caller must not
        act on the event.
        """
        await self.journal.append(subject, event)
        if is_logged_first(event):
            needed = self.journal.last_number()
            async with self._turn:
                if self.log.last < needed:
                    await self._add()

    async def add(self) -> None:
        """Add an entry with all that the journal has more. Raises as ``append`` does."""
        async with self._turn:
            await self._add()

    async def _add(self, *, with_gateway_ledger: bool = False) -> None:
        rows = rows_after(self.journal, self.log.last, with_gateway_ledger=with_gateway_ledger)
        await self.log.append(rows.changed_since(self._known))
        self._known = replace(rows, events=(), planned=())

    async def keep(self, clock: Clock) -> None:
        """Add an entry every ``TICK_S`` until cancelled.

        Raises ``LogTakenError``: so a process that was frozen learns that another one has the
        log. While the store can't be reached, the next entry is awaited.
        """
        while True:
            await clock.sleep(TICK_S)
            try:
                await self.add()
            except ObjectStoreError as error:
                logger.info("the log of %s does not grow: %s", self.log.name, error.message)

    async def finish(self) -> None:
        """Add the rest, with the end of the run, and sum the log up. Raises as ``append`` does."""
        async with self._turn:
            await self._add(with_gateway_ledger=True)
            if self.log.last <= MOST_IN_SUMMARY:
                await self.log.sum_up(rows_after(self.journal, 0, with_gateway_ledger=True))
