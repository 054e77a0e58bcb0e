"""A real Chromium, pages of real runs on the local gateway, and a folder for screenshots."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from crucible_batch import run
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import Frame, Thumbnails, report_assets, same_command, write_page
from crucible_batch.report.models import CountsRow, CreditsRow, ErrorRow, ManifestRow, OutputRow
from crucible_batch.runs.next_step import advice, group_failures, next_step
from crucible_batch.runs.reporting import page_commands
from crucible_batch.sandbox import SandboxConfig, parse_faults, serve
from crucible_batch.settings import Settings

expect.set_options(timeout=20_000)  # a busy machine makes a run slow, and no page wrong
SHOTS = Path(__file__).with_name("shots")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "</script><img src=x onerror=document.title='taken'> \u2028 \u202eexe.png"
MANIFEST = """\
version: 1
name: lookbook
workflow: zimage-base
budget: {credits: 80}
params: {size.width: 320, size.height: 240}
jobs:
  - name: harbour
    prompt: "A harbour at {{ hour }}, {{ style }}"
    matrix: {style: [noir, watercolor, gouache], hour: [dawn, dusk]}
    repeat: 2
  - name: edit
    workflow: qwen-edit
    prompt: on marble
    image: mug.png
  - {name: refused, prompt: "nsfw %s"}
"""


@dataclass
class Seen:
    """A page, and what it did that nobody asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if executable is None:
        pytest.fail(
            "report.html is tested in Chromium, and there is none here "
            "(Debian: apt-get install chromium)"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


Open = Callable[..., Seen]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a page from the disk; at the end nothing may have been complained of and nothing have
    left."""
    contexts: list[BrowserContext] = []
    pages: list[Seen] = []

    def opened(path: Path, address: str = "", **options: object) -> Seen:
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        seen = Seen(context.new_page())
        pages.append(seen)
        seen.page.set_default_timeout(10_000)
        seen.page.on(
            "console", lambda message: seen.complaints.append(f"{message.type}: {message.text}")
        )
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(path.absolute().as_uri() + address)
        return seen

    yield opened
    for context in contexts:
        context.close()
    for seen in pages:
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keep what a page looks like, for people."""
    SHOTS.mkdir(exist_ok=True)
    return lambda page, name: page.screenshot(path=SHOTS / f"{name}.png") and None


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with a matrix, an edited photo, a refused job whose prompt is hostile, and
    failures."""
    folder = tmp_path_factory.mktemp("lookbook")
    Image.new("RGB", (800, 600), "teal").save(folder / "mug.png")
    (folder / "manifest.yaml").write_text(
        MANIFEST % HOSTILE.replace("\u2028", "\\L").replace("\u202e", "\\u202e"), encoding="utf-8"
    )
    # Playwright has an event loop in this thread from the first page on.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_run(folder))).result()
    return folder / "out" / "report.html"


async def _run(folder: Path, failed: int = 1) -> None:
    faults = parse_faults("generate.fail=4") if failed else ()
    async with serve(SandboxConfig(time_scale=0.2, faults=faults)) as gateway:
        settings = Settings(
            api_key=gateway.api_key, base_url=gateway.api_url, key_source="the sandbox"
        )
        result = await run(folder / "manifest.yaml", out_dir=folder / "out", settings=settings)
    assert result.report.counts.failed == failed
    assert result.page == folder / "out" / "report.html"


COLUMNS = "sku,product,style,season,photo,words,prompt"
CATALOGUE = """\
version: 1
name: catalogue
workflow: qwen-edit
budget: {credits: 100}
jobs:
  - name: "{{ row.sku }}"
    foreach: table.csv
    image: "{{ row.photo }}"
    prompt: "{{ row.prompt }}"
"""


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a table of eight rows: two products in two styles, two photos, and a cell of
    hostile words.
    """
    folder = tmp_path_factory.mktemp("catalogue")
    lines = [COLUMNS]
    for number in range(8):
        product, style = ("mug", "bowl")[number % 2], ("marble", "linen")[number // 2 % 2]
        words = '"' + HOSTILE.replace('"', '""') + '"' if number < 2 else "plain"
        light = (
            "soft light from the left; a long shadow; no text; "
            "one of a series for the pages of a shop"
        )
        prompt = f"A hand-thrown {product} on {style}; {light}; number {number}"
        season = "" if number else "spring"
        lines.append(f"sku-{number},{product},{style},{season},{product}.png,{words},{prompt}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for product, color in (("mug", "teal"), ("bowl", "tomato")):
        Image.new("RGB", (400, 300), color).save(folder / f"{product}.png")
    (folder / "manifest.yaml").write_text(CATALOGUE, encoding="utf-8")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_run(folder, failed=0))).result()
    return folder / "out" / "report.html"


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a thousand jobs, each with its own picture."""
    return _long_page(tmp_path_factory.mktemp("thousand"), 1000, pictures=1000)


@pytest.fixture(scope="session")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of ten thousand jobs, whose thumbnails lie beside it."""
    return _long_page(tmp_path_factory.mktemp("ten-thousand"), 10_000, pictures=250)


@pytest.fixture(scope="session")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of 300 jobs that stopped at its budget after fifteen."""
    folder = tmp_path_factory.mktemp("blocked")
    reason = ErrorRow(
        code="BUDGET_EXHAUSTED",
        message="30 of 30 credits used; the next job needs 2",
        hint="raise it",
    )
    counts = CountsRow(total=300, succeeded=15, blocked=285)
    rest = {"status": "blocked", "outputs": [], "error": reason}
    rows = [
        made_job(
            number,
            file=f"{number}.png",
            prompt=f"picture {number}",
            **(rest if number >= 15 else {}),
        )
        for number in range(300)
    ]
    _draw(folder, 15)
    return made_page(
        folder,
        *rows,
        name="blocked",
        status="blocked",
        exit_code=4,
        counts=counts,
        stops={"workflow:z": reason},
    )


def _long_page(folder: Path, jobs: int, *, pictures: int) -> Path:
    _draw(folder, pictures)
    tones = (
        {"axes": {"tone": str(number % 10)}, "prompt": f"picture {number}"}
        for number in range(jobs)
    )
    rows = (
        made_job(number, file=f"{number % pictures}.png", **more)
        for number, more in enumerate(tones)
    )
    return made_page(folder, *rows, name="long", spent=Decimal("1234.50625"))


def _draw(folder: Path, pictures: int) -> None:
    for number in range(pictures):
        Image.new("RGB", (160, 120), (number % 256, number * 7 % 256, number * 13 % 256)).save(
            folder / f"{number}.png"
        )


def made_page(
    folder: Path,
    *jobs: JobRow,
    name: str = "made",
    spent: Decimal = Decimal(0),
    never: set[str] | None = None,
    rejecting: bool = True,
    **more: Any,
) -> Path:
    """Write the page of a report with these jobs; ``more`` are fields of its head.

    Unless ``rejecting``, as if the feature had been deleted.
    """
    books = dict.fromkeys(
        ("held", "jobs", "uploads", "rebates", "refunded", "over_budget"), Decimal(0)
    )
    known = {
        "run_id": "default",
        "status": "succeeded",
        "exit_code": 0,
        "started_at": "2026-01-01T00:00:00.000Z",
        "manifest": ManifestRow(name=name, path="m.yaml", sha256="ab" * 32),
        "credits": CreditsRow(budget=None, spent=spent, **books),
        "counts": CountsRow(total=len(jobs), succeeded=len(jobs)),
    }
    head = ReportHead(**{**known, **more})
    again = same_command(head, folder)
    step = next_step(head, again, group_failures(head, jobs), never=never or set())
    commands = page_commands(folder) if rejecting else {}
    frame = Frame(advice(head, again, step), report_assets(), never=never or set(), more=commands)
    return write_page(folder, folder, head, iter(jobs), Thumbnails(folder, len(jobs)), frame=frame)


def choose(page: Page, label: str, *values: str) -> None:
    """Toggle values of a filter by its menu, which is closed again."""
    menu = page.locator("#toolbar .facet", has=page.locator(f'.items[aria-label="{label}"]'))
    menu.locator("summary").click()
    for value in values:
        menu.locator("label").filter(has=page.get_by_text(value, exact=True)).click()
    page.keyboard.press("Escape")


def made_job(name: str | int, *, file: str | None = None, **more: Any) -> JobRow:
    """Return a job that succeeded, with the output in a file; ``more`` are other fields of it."""
    known = {
        "sha256": digest_of(file or ""),
        "byte_size": 1,
        "mime_type": "image/png",
        "width": 160,
        "height": 120,
    }
    outputs = []
    if file is not None:
        outputs = [OutputRow(index=0, path=file, saved_at=1, **known)]  # type: ignore[arg-type]
    fixed = {
        "status": "succeeded",
        "workflow_id": "z",
        "params": {},
        "idempotency_key": "k",
        "credits": Decimal(1),
    }
    named = f"job-{name}" if isinstance(name, int) else name
    return JobRow(**{"name": named, "outputs": outputs, **fixed, **more})


def digest_of(file: str) -> str:
    return hashlib.sha256(file.encode()).hexdigest()


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe finds."""
    found = Axe().run(page)
    assert len(found.response["passes"]) > 10
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found.response["violations"]
    ]
