"""The effects of a run, in the order in which they become visible outside of it.

No function of ``runs/`` is replaced, so a change of the path of a run doesn't change what is
watched:

    lock            ``write_holder`` and ``erase_holder`` of ``journal/lock.py``
    journal         the methods of ``Journal`` that write, and ``close``
    restoring       ``Receipts.count``, with which it begins, and the rows of ``Journal.restore``
    period          ``set_aside`` and ``settle`` of ``BudgetAccount``
    spend cap       ``set_aside_for`` and ``settle`` of the ``SpendCap`` that a server is given
    gateway         requests, by the transport that a caller passes in
    object store    what is created and replaced in ``DictObjects``
    engine          ``Runner.run``
    notifications   ``HttpSender.post``, which sends nothing
    files           ``os.replace``, ``os.rename``, ``os.unlink`` and ``os.chmod``, by file name
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crucible_batch.core.credits import Credits
from crucible_batch.engine.runner import Runner
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.features.notify.http_channels import HttpSender
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.journal import Journal, lock
from crucible_batch.outputs import Receipts
from tests.harness.bench import Tampered
from tests.harness.object_fakes import DictObjects

_NOTES = {"budget id": "new id in the account", "log_writers": "writer of the log noted"}
"""The effects of ``Journal.note``, by the name of the note."""
_FILES = {"report.json": "report.json", "report.html": "page", "runs.json": "list entry"}
"""The effects of a file that gets its name."""
_ENTRY = re.compile(r"/([0-9]+-of-[0-9]+|log)/[0-9]{8}\.json$")


class Effects:
    """The effects that are seen while it watches.

    One that is repeated without another in between counts once.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._seen: list[str] = []
        self._is_watching = False
        self._turn = threading.Lock()
        self._jobs: Mapping[str, str] = {}
        _watch_lock(self, patch)
        _watch_journal(self, patch)
        _watch_accounts(self, patch)
        _watch_engine(self, patch)
        _watch_notices(self, patch)
        _watch_files(self, patch)

    @property
    def seen(self) -> Sequence[str]:
        return tuple(self._seen)

    def without(self, effect: str) -> list[str]:
        """Return what was seen, without one effect."""
        return [each for each in self._seen if each != effect]

    @contextmanager
    def watching(self, jobs: Mapping[str, str] | None = None) -> Iterator[None]:
        """Watch during the block.

        ``jobs`` names the effect of a request for a job's record, by the job's id.
        """
        self._seen.clear()
        self._jobs = jobs or {}
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False

    def note(self, effect: str) -> None:
        with self._turn:
            if self._is_watching and self._seen[-1:] != [effect]:
                self._seen.append(effect)

    def note_first(self, effect: str) -> None:
        if effect not in self._seen:
            self.note(effect)

    def transport(self, renewed: str, ours: str) -> httpx.AsyncBaseTransport:
        """Return a transport that notes requests.

        The gateway gets the key ``ours`` in place of ``renewed``.
        """

        async def tamper(
            request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
        ) -> httpx.Response:
            self._requested(request.method, request.url.path.rpartition("/")[2])
            if renewed in request.headers.get("Authorization", ""):
                request.headers["Authorization"] = f"Bearer {ours}"
            return await send()

        return Tampered(tamper)

    def _requested(self, method: str, name: str) -> None:
        if method == "POST" and name == "generate":
            self.note_first("first submit")
        elif method == "DELETE":
            self.note("image deleted")
        elif method == "GET" and name in self._jobs and "engine begins" not in self._seen:
            self.note(self._jobs[name])

    def watch_store(self, objects: DictObjects) -> None:
        """Note from now on what is created and replaced in a store."""

        def note(request: str, key: str) -> None:
            if request not in {"answer", "replace"}:
                return
            if _ENTRY.search(key):
                self._note_entry()
            elif key.endswith("/journal.json"):
                self.note("log summed up")
            elif key in {"report.json", "report.html"}:
                self.note("published")

        objects.fault = note

    def _note_entry(self) -> None:
        """Note the first entry of a log, that of the first hold, and those after the end of
        the engine."""
        if "engine begins" not in self._seen:
            self.note("log taken")
        elif "engine ends" not in self._seen:
            self.note_first("hold in the log")
        else:
            self.note("log finished")


class WatchedCap(SpendCap):
    """A cap that notes what is set aside and settled.

    ``then`` is called when a run has set its credits aside.
    """

    def __init__(
        self, limit: Credits, effects: Effects, then: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(limit)
        self._effects = effects
        self._then = then

    def set_aside_for(self, *given: Any) -> bool:
        is_admitted = super().set_aside_for(*given)
        self._effects.note("cap set aside")
        self._then()
        return is_admitted

    def settle(self, *given: Any) -> None:
        super().settle(*given)
        self._effects.note("cap settled")


def _after(patch: pytest.MonkeyPatch, owner: Any, name: str, note: Callable[..., None]) -> None:
    """Call ``note`` with the arguments of each call of ``owner.name``, once it has returned."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def called(*given: Any, **named: Any) -> Any:
        result = inner(*given, **named)
        note(*given, **named)
        return result

    patch.setattr(owner, name, called)


def _watch_lock(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    _after(patch, lock, "write_holder", lambda _directory: effects.note("locked"))
    _after(patch, lock, "erase_holder", lambda _directory: effects.note("lock released"))


def _watch_journal(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    restore = Journal.restore

    def restored(journal: Journal, rebuilt: Iterable[tuple[str, Sequence[Any]]]) -> None:
        rows = list(rebuilt)
        restore(journal, rows)
        if rows:
            effects.note("restored")

    def noted(_journal: Journal, name: str, _value: str) -> None:
        if name in _NOTES:
            effects.note(_NOTES[name])

    def closed(journal: Journal) -> None:
        if not journal._read_only:
            effects.note("journal closed")

    _after(patch, Journal, "adopt", lambda *_given: effects.note("plan adopted"))
    patch.setattr(Journal, "restore", restored)
    _after(patch, Journal, "remember_key", lambda *_given: effects.note("key remembered"))
    _after(patch, Journal, "note", noted)
    _after(patch, Journal, "begin_run", lambda *_given, **_named: effects.note("run begun"))
    _after(patch, Journal, "end_run", lambda *_given, **_named: effects.note("run ended"))
    _after(patch, Journal, "close", closed)
    _after(patch, Receipts, "count", lambda *_given: effects.note_first("receipts compared"))


def _watch_accounts(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    _after(patch, BudgetAccount, "set_aside", lambda *_given: effects.note("period set aside"))
    _after(patch, BudgetAccount, "settle", lambda *_given: effects.note("period settled"))


def _watch_engine(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    run = Runner.run

    async def watched(runner: Runner) -> Any:
        effects.note("engine begins")
        try:
            return await run(runner)
        finally:
            effects.note("engine ends")

    patch.setattr(Runner, "run", watched)


def _watch_notices(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    async def post(_sender: HttpSender, url: str, _headers: object, _body: bytes) -> None:
        exit_code = httpx.URL(url).path.rpartition("/")[2]
        effects.note(f"notice of exit code {exit_code}")

    patch.setattr(HttpSender, "post", post)


def _watch_files(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    def renamed(_source: Any, target: Any, **_named: Any) -> None:
        path = Path(os.fspath(target))
        if path.name in _FILES:
            effects.note(_FILES[path.name])
        elif path.suffix == ".prom":
            effects.note("metrics written")
        elif ".before-" in path.name:
            effects.note("stale journal set aside")

    def on_socket(effect: str) -> Callable[..., None]:
        def note(path: Any, *_given: Any, **_named: Any) -> None:
            if isinstance(path, str | Path) and Path(path).name == "control.sock":
                effects.note(effect)

        return note

    _after(patch, os, "replace", renamed)
    _after(patch, os, "rename", renamed)
    _after(patch, os, "chmod", on_socket("commands begin"))
    _after(patch, os, "unlink", on_socket("commands end"))
