"""Writes the picture of the README: the demo in a terminal, and beside it the page that it makes.

Run by ``make picture``.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

TARGET = Path(__file__).parent / "images" / "demo.webp"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
COLUMNS = 74
PAGE = {"width": 1180, "height": 965}
PICTURE = {"width": 1760, "height": 830}
THEME = TerminalTheme(
    (20, 22, 27),
    (230, 232, 236),
    [(60, 64, 72), (240, 113, 120), (135, 208, 135), (230, 192, 104),
     (110, 168, 254), (203, 148, 240), (94, 205, 214), (230, 232, 236)],
)  # fmt: skip
_ALL_IN_VIEW = """(least) => {
  const pictures = [...document.images].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  return pictures.length >= least && pictures.every((one) => one.complete && one.naturalWidth > 0);
}"""
_REDRAWN = re.compile(r"(?:\r?\x1b\[1A\x1b\[2K)+|\r\x1b\[2K")
"""What the display writes before it draws itself again."""
_CONTROL = re.compile(r"\x1b\[\?25[hl]|\r")

_HTML = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff; display: grid; grid-template-columns: 800px 1fr; gap: 28px;
       padding: 20px; box-sizing: border-box; align-items: start }}
.window {{ border-radius: 10px; border: 1px solid #d5d8de; overflow: hidden;
           box-shadow: 0 6px 24px #0000001a }}
.bar {{ background: #e9ebef; padding: 9px 14px; display: flex; gap: 7px }}
.bar i {{ width: 12px; height: 12px; border-radius: 50%; background: #c3c8d1 }}
.terminal {{ background: #14161b; color: #e6e8ec; padding: 18px 20px }}
pre {{ margin: 0; font: 17px/1.42 "DejaVu Sans Mono", monospace; white-space: pre }}
img {{ width: 100%; display: block }}
</style>
<div class="window"><div class="bar"><i></i><i></i><i></i></div>
<div class="terminal">{terminal}</div></div>
<div class="window"><div class="bar"><i></i><i></i><i></i></div>
<img src="data:image/png;base64,{page}"></div>
"""


def main() -> None:
    """Run the demo, and write the picture of what it printed and of its page."""
    with tempfile.TemporaryDirectory() as folder:
        printed = run_demo(Path(folder))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            report = Path(folder, "outputs/demo/default/report.html")
            page = screenshot(browser, PAGE, report, pictures=8)
            whole = Path(folder) / "picture.html"
            whole.write_text(
                _HTML.format(terminal=as_html(printed), page=base64.b64encode(page).decode())
            )
            taken = screenshot(browser, PICTURE, whole, pictures=1)
            browser.close()
    with Image.open(io.BytesIO(taken)) as image:
        image.convert("RGB").save(TARGET, quality=84, method=6)


def run_demo(folder: Path) -> str:
    """Run the demo in a folder; return what a terminal has of it: one display, then the ending."""
    for name in ("crucible_batch", "manifests"):  # a clone, so that paths are relative
        shutil.copytree(ROOT / name, folder / name)
    ended = subprocess.run(
        [sys.executable, "-m", "crucible_batch", "demo"],
        cwd=folder,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = [_CONTROL.sub("", each).strip("\n") for each in _REDRAWN.split(ended.stderr)]
    displays = [each for each in shown if "╭" in each]
    command = "\x1b[1;32m$\x1b[0m crucible-batch demo"
    ending = _CONTROL.sub("", ended.stdout).strip("\n")
    display = displays[len(displays) // 2]
    frame = display[: display.rindex("╯") + 1].lstrip("\n")
    return f"{command}\n{frame}\x1b[0m\n\n{ending}"


def as_html(printed: str) -> str:
    """Return coloured text of a terminal as HTML."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed))
    return console.export_html(theme=THEME, inline_styles=True, code_format="<pre>{code}</pre>")


def screenshot(browser: Browser, size: dict[str, int], file: Path, *, pictures: int) -> bytes:
    """Return a page as PNG once at least so many pictures are in view, and all of them loaded."""
    page = browser.new_page(viewport={"width": size["width"], "height": size["height"]})
    page.goto(file.as_uri(), wait_until="load")
    page.wait_for_function(_ALL_IN_VIEW, arg=pictures)
    taken = page.screenshot()
    page.close()
    return taken


ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    main()
