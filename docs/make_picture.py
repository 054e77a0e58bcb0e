"""Writes the picture of the README: ``report.html`` of a demo run in Chromium. Run by ``make
picture``.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parent / "images" / "demo.webp"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
WIDTH, HEIGHT = 1280, 1010


def main() -> None:
    """Run the demo, open its page and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "demo"
        command = [
            sys.executable,
            "-m",
            "crucible_batch",
            "demo",
            "--out-dir",
            str(run_dir),
            "--quiet",
        ]
        subprocess.run(command, check=True)  # noqa: S603 - our own command
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto((run_dir / "report.html").as_uri(), wait_until="load")
            taken = page.screenshot()
            browser.close()
    with Image.open(io.BytesIO(taken)) as image:
        image.convert("RGB").save(TARGET, quality=82, method=6)


if __name__ == "__main__":
    main()
