"""The page of ten thousand pictures in Chromium: how long until the first picture is there, until a
filter has left its pictures, and until a place far down in the list has its own; and the first
picture of the same run in the viewer.

Needs Chromium and the group ``browser``. ``python -m benchmarks.page PAGE...`` measures pages that
are there already in turns, such as those of two releases, and prints the medians.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from benchmarks.memory import planned, terms
from benchmarks.report import pictures, story
from benchmarks.row import Row
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.reporting import (
    journal_rows,
    thumbnails_of,
    write_page_of,
    write_report_of,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_Result = TypeVar("_Result")
LARGE, SMALL = 10_000, 2_000
_OPENED_AFTER_S = 2.0
"""How long a person takes to open the address that the viewer has printed."""
_FIRST_S, _FILTER_S = 2.0, 0.1
_BEGAN = 1_800_000_000.0
_WHY = (
    "other programs use the two cores as well: a choice takes 30 ms of CPU, the page 0.4 s, "
    "and the viewer reads the journal for 1.5 s before it"
)
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_SIZE = {"width": 1400, "height": 900}
_FIRST = """(() => {
    const look = () => {
        const image = document.querySelector('#view-gallery .picture img');
        if (image?.complete && image.naturalWidth) globalThis.firstPicture = performance.now();
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})()"""
_WAIT = """() => new Promise((done) => {
    const look = () => (globalThis.firstPicture ? done(firstPicture) : setTimeout(look, 20));
    look();
})"""
_IDLE = "() => new Promise((done) => setTimeout(() => requestIdleCallback(() => done()), 500))"
_PAINTED = "const painted = (then) => requestAnimationFrame(() => setTimeout(then));"
_FILTER = f"""(hash) => new Promise((done) => {{
    {_PAINTED}
    const began = performance.now();
    const end = () => painted(() => done(performance.now() - began));
    addEventListener('hashchange', end, {{ once: true }});
    location.hash = hash;
}})"""
_SEARCH = f"""(word) => new Promise((done) => {{
    {_PAINTED}
    const search = document.getElementById('search');
    const began = performance.now();
    search.value = word;
    search.dispatchEvent(new Event('input'));
    painted(() => done(performance.now() - began));
}})"""
_JUMP = """(share) => new Promise((done) => {
    const began = performance.now();
    scrollTo(0, share * document.documentElement.scrollHeight);
    const isSeen = (image) => {
        const { top, bottom } = image.getBoundingClientRect();
        return bottom > 100 && top < innerHeight;
    };
    const look = () => {
        const seen = [...document.querySelectorAll('#view-gallery .picture img')].filter(isSeen);
        const isThere = seen.length && seen.every((image) => image.complete && image.naturalWidth);
        if (isThere) done(performance.now() - began);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: until the first picture, and of a choice, a search and a jump."""

    first: float
    choice: float
    search: float
    jump: float


def written(directory: Path, jobs: int) -> Path:
    """Write the page of so many jobs, each with a prompt and a value of an axis of ten."""
    saved = pictures(directory)
    all_jobs = [replace(job, axes={"tone": str(job.position % 10)}) for job in planned(jobs)]
    with Journal.open(directory, Binding("m", "r", "g"), now=_BEGAN) as journal:
        with PlanFile.temporary() as plan:
            plan.fill(all_jobs)
            journal.adopt(plan)
        run = journal.begin_run(terms(), now=_BEGAN)
        journal.restore(story(job, saved) for job in all_jobs)
        journal.end_run(run, Ending(RunStatus.SUCCEEDED, 0), now=_BEGAN + 3600)
        head = write_report_of(journal, directory)
        thumbnails = thumbnails_of(OutputStore(directory), journal)
        return write_page_of(journal, directory, head, journal_rows(journal), thumbnails)


def with_browser(measure: Callable[[Browser], list[_Result]]) -> list[_Result]:
    """Measure with a Chromium of its own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of a group

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            return measure(browser)
        finally:
            browser.close()


def once(browser: Browser, path: Path) -> Times:
    """Open a page in a context of its own, and use it."""
    context = browser.new_context(viewport=_SIZE)  # type: ignore[arg-type]
    try:
        page: Page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(_FIRST)
        page.goto(path.absolute().as_uri(), wait_until="commit")
        first = page.evaluate(_WAIT)
        page.evaluate(_IDLE)
        choice = median(page.evaluate(_FILTER, f"axis.tone={tone}") for tone in range(3))
        page.evaluate(_FILTER, "view=gallery")
        search = median(page.evaluate(_SEARCH, word) for word in ("lighthouse-77", "77 eng", "9"))
        page.evaluate(_SEARCH, "")
        jump = median(page.evaluate(_JUMP, share) for share in (0.9, 0.4, 0.7))
        return Times(*(figure / 1000 for figure in (first, choice, search, jump)))
    finally:
        context.close()


def in_turns(paths: Sequence[Path], rounds: int) -> list[Times]:
    """Return the medians of each page, measured in turns."""

    def measure(browser: Browser) -> list[Times]:
        found: list[list[Times]] = [[] for _ in paths]
        for _ in range(rounds):
            for times, path in zip(found, paths, strict=True):
                times.append(once(browser, path))
        return [_median(times) for times in found]

    return with_browser(measure)


def viewed(directory: Path, rounds: int) -> float:
    """Return the median of the seconds until the first picture is there in a new viewer."""

    def measure(browser: Browser) -> list[float]:
        return [_viewed_once(browser, directory) for _ in range(rounds)]

    return median(with_browser(measure))


def _viewed_once(browser: Browser, directory: Path) -> float:
    command = [sys.executable, "-m", "crucible_batch", "view", str(directory)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as viewer:
        assert viewer.stdout is not None
        address = viewer.stdout.readline().split()[1]
        time.sleep(_OPENED_AFTER_S)
        try:
            return _first_picture(browser, address)
        finally:
            viewer.terminate()


def _first_picture(browser: Browser, address: str) -> float:
    context = browser.new_context(viewport=_SIZE)  # type: ignore[arg-type]
    try:
        page: Page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(_FIRST)
        page.goto(address, wait_until="commit")
        first: float = page.evaluate(_WAIT)
        return first / 1000
    finally:
        context.close()


def _median(times: Sequence[Times]) -> Times:
    return Times(
        first=median(each.first for each in times),
        choice=median(each.choice for each in times),
        search=median(each.search for each in times),
        jump=median(each.jump for each in times),
    )


def rows(quick: bool) -> Iterator[Row]:
    """Open a page of ten thousand pictures, filter it, and jump in it."""
    jobs, rounds = (SMALL, 1) if quick else (LARGE, 5)
    with tempfile.TemporaryDirectory() as folder:
        (times,) = in_turns([written(Path(folder), jobs)], rounds)
        in_viewer = viewed(Path(folder), rounds)
    note = f"in Chromium, 1400 x 900; median of {rounds}"
    for what, reached, bound in (
        ("the first picture", times.first, _FIRST_S),
        ("the first picture in the viewer", in_viewer, _FIRST_S),
        ("a choice in a filter", times.choice, _FILTER_S),
        ("a search", times.search, _FILTER_S),
        ("a jump to any place of the list", times.jump, _FILTER_S),
    ):
        title = f"page of {jobs:,} pictures: {what}"
        shown = f"{reached:.2f} s"
        yield Row(title, f"< {bound:g} s", shown, reached < bound, note, _WHY)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if given:
        for path, times in zip(given, in_turns(given, 3), strict=True):
            print(path, times)
    else:
        print(*rows("--quick" in sys.argv), sep="\n")
