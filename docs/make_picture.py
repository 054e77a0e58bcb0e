"""Draws the README's picture: the images of a run, and what its report says of each. Run by ``make picture``.

It makes a demo run into a temporary folder, reads that run's ``report.json``, and draws nothing that isn't in there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

TARGET = Path(__file__).parent / "images" / "demo.webp"
COLUMNS = 6
THUMB = (200, 150)
GAP, MARGIN, HEADER, CAPTION = 14, 28, 92, 44
PAPER, INK, QUIET, GOOD = "#ffffff", "#1f2328", "#6a737d", "#1a7f37"


def font(size: int) -> Any:
    return ImageFont.load_default(size)


def draw_report(report: dict[str, Any], run_dir: Path) -> Image.Image:
    """Return a contact sheet: the head of the report, then each job with its image, its name and what it cost."""
    jobs = report["jobs"]
    rows = -(-len(jobs) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * THUMB[0] + (COLUMNS - 1) * GAP
    height = MARGIN + HEADER + rows * (THUMB[1] + CAPTION + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_head(draw, report)
    for number, job in enumerate(jobs):
        left = MARGIN + number % COLUMNS * (THUMB[0] + GAP)
        top = MARGIN + HEADER + number // COLUMNS * (THUMB[1] + CAPTION + GAP)
        draw_job(sheet, draw, job, run_dir, (left, top))
    return sheet


def draw_head(draw: ImageDraw.ImageDraw, report: dict[str, Any]) -> None:
    counts, books = report["counts"], report["credits"]
    draw.text((MARGIN, MARGIN), report["manifest"]["name"], INK, font(34))
    draw.text((MARGIN, MARGIN + 46), f"{counts['succeeded']} of {counts['total']} jobs succeeded", GOOD, font(20))
    said = f"{books['spent']} credits spent ({books['jobs']} for jobs, {books['uploads']} for uploads)"
    draw.text((MARGIN + 290, MARGIN + 46), f"{said}   budget {books['budget']}", QUIET, font(20))


def draw_job(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, job: dict[str, Any], run_dir: Path, at: tuple[int, int]
) -> None:
    left, top = at
    if job["outputs"]:
        with Image.open(run_dir / job["outputs"][0]["path"]) as image:
            thumb = ImageOps.contain(image.convert("RGB"), THUMB, Image.Resampling.LANCZOS)
        sheet.paste(thumb, (left + (THUMB[0] - thumb.width) // 2, top + THUMB[1] - thumb.height))
    draw.text((left, top + THUMB[1] + 6), fitting(job["name"], 15), INK, font(15))
    words = f"{job['workflow_id']}   {job['credits']} credit{'' if job['credits'] == '1' else 's'}"
    draw.text((left, top + THUMB[1] + 24), words, QUIET, font(13))


def fitting(text: str, size: int) -> str:
    """Cut a text in its middle until it is as wide as a thumbnail: both its ends tell jobs apart."""
    keep = len(text)
    shown = text
    while font(size).getlength(shown) > THUMB[0]:
        keep -= 1
        shown = f"{text[: keep // 2]}...{text[len(text) - keep + keep // 2 :]}"
    return shown


def main() -> None:
    """Run the demo and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "demo"
        command = [sys.executable, "-m", "crucible_batch", "demo", "--out-dir", str(run_dir), "--quiet"]
        subprocess.run(command, check=True)  # noqa: S603 - our own command
        report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
        sheet = draw_report(report, run_dir)
    sheet.save(TARGET, quality=80, method=6)


if __name__ == "__main__":
    main()
