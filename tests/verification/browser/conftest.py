"""A real Chromium, pages of real runs on the local gateway, and a folder for what they look like."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from crucible_batch import run
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import write_page
from crucible_batch.report.models import CountsRow, CreditsRow, ManifestRow, OutputRow
from crucible_batch.sandbox import SandboxConfig, parse_faults, serve
from crucible_batch.settings import Settings

expect.set_options(timeout=20_000)  # a busy machine makes a run slow, and no page wrong
SHOTS = Path(__file__).with_name("shots")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
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
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.fail("report.html is tested in Chromium, and there is none here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


Open = Callable[..., Seen]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a page from the disk; at the end nothing may have been complained of and nothing have left."""
    contexts: list[BrowserContext] = []
    pages: list[Seen] = []

    def opened(path: Path, address: str = "", **options: object) -> Seen:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        seen = Seen(context.new_page())
        pages.append(seen)
        seen.page.set_default_timeout(10_000)
        seen.page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
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
    """The page of a run with a matrix, an edited photo, a refused job whose prompt is hostile, and failures."""
    folder = tmp_path_factory.mktemp("lookbook")
    Image.new("RGB", (800, 600), "teal").save(folder / "mug.png")
    (folder / "manifest.yaml").write_text(
        MANIFEST % HOSTILE.replace("\u2028", "\\L").replace("\u202e", "\\u202e"), encoding="utf-8"
    )
    # Playwright has an event loop in this thread from the first page on.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_run(folder))).result()
    return folder / "out" / "report.html"


async def _run(folder: Path) -> None:
    async with serve(SandboxConfig(time_scale=0.2, faults=parse_faults("generate.fail=4"))) as gateway:
        settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url, key_source="the sandbox")
        result = await run(folder / "manifest.yaml", out_dir=folder / "out", settings=settings)
    assert result.report.counts.failed == 1
    assert result.page == folder / "out" / "report.html"


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a thousand jobs, each with its own picture."""
    return _long_page(tmp_path_factory.mktemp("thousand"), 1000, pictures=1000)


@pytest.fixture(scope="session")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of ten thousand jobs, whose thumbnails lie beside it."""
    return _long_page(tmp_path_factory.mktemp("ten-thousand"), 10_000, pictures=250)


def _long_page(folder: Path, jobs: int, *, pictures: int) -> Path:
    for number in range(pictures):
        Image.new("RGB", (160, 120), (number % 256, number * 7 % 256, number * 13 % 256)).save(folder / f"{number}.png")
    zero = Decimal(0)
    head = ReportHead(
        run_id="default",
        status="succeeded",
        exit_code=0,
        started_at="2026-01-01T00:00:00.000Z",
        manifest=ManifestRow(name="long", path="m.yaml", sha256="ab" * 32),
        counts=CountsRow(total=jobs, succeeded=jobs),
        credits=CreditsRow(
            budget=None,
            spent=Decimal("1234.50625"),
            held=zero,
            jobs=zero,
            uploads=zero,
            rebates=zero,
            refunded=zero,
            over_budget=zero,
        ),
    )
    return write_page(folder, head, (_row(number, number % pictures) for number in range(jobs)), [])


def _row(number: int, picture: int) -> JobRow:
    output = OutputRow(
        index=0,
        path=f"{picture}.png",
        sha256=f"{picture:064x}"[::-1],
        byte_size=9,
        mime_type="image/png",
        width=160,
        height=120,
        saved_at=1.0,
    )
    return JobRow(
        name=f"job-{number}",
        status="succeeded",
        workflow_id="z",
        prompt=f"picture {number}",
        params={"seed": number},
        axes={"tone": str(number % 10)},
        idempotency_key="k",
        credits=Decimal(1),
        outputs=[output],
    )
