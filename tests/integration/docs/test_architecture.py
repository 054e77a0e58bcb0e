"""The page about the architecture is true: its names exist, and a job takes the path that it
describes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from crucible_batch.sandbox import SandboxConfig, serve
from tests.harness.case_table import each_case

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "crucible_batch"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EVENTS = "core/events.py"
_FILE = r"(?:[a-z_]+/)*[a-z_]+\.py"
_NAME = r"[A-Za-z_]+(?:\.[A-Za-z_]+)*"
_FUNCTION = re.compile(rf"`({_FILE})`\s+`({_NAME})`")


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _steps() -> list[str]:
    return re.split(r"^\d+\. ", _section("The path of one prompt"), flags=re.MULTILINE)[1:]


def _walked() -> Iterator[tuple[str, str]]:
    """The functions of the path, in its order, each with its file."""
    for step in _steps():
        yield from _FUNCTION.findall(step)


def _defined(name: str, source: str) -> bool:
    return (
        re.search(
            rf"(?:\b(?:def|class) {name}\b|^\s*(?:self\.)?{name}\b\s*[:=])", source, re.MULTILINE
        )
        is not None
    )


def test_the_rows_of_rooms_are_the_rooms_of_the_package() -> None:
    rows = _section("Rooms").split("```")[1].splitlines()
    shown = sorted(room.strip() for row in rows if row for room in row.split("|"))
    files = (
        path
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    )
    assert shown == sorted(path.stem for path in files if not path.stem.startswith("__"))


def test_the_path_has_at_most_twenty_steps() -> None:
    assert 10 < len(_steps()) <= 20


ANSWERS = [row for row in _section("Where to find the code").splitlines() if row.startswith("| ")][
    1:
]


@each_case("text", [*ANSWERS, *_steps()])
def test_a_name_is_defined_in_a_file_that_is_named_beside_it(text: str) -> None:
    files = [*re.findall(rf"`({_FILE})`", text), EVENTS]
    folders = [
        folder for folder in re.findall(r"`([a-z_/]+/)`", text) if (PACKAGE / folder).is_dir()
    ]
    paths = [path for file in files for path in (PACKAGE / file, ROOT / file) if path.is_file()]
    paths += [path for folder in folders for path in (PACKAGE / folder).rglob("*.py")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    names = [
        name
        for name in re.findall(rf"`({_NAME})`", text)
        if not re.search(r"\.(?:py|toml|json|html)$", name)
    ]
    for name in names:
        if name.islower() and "_" not in name and f"py` `{name}`" not in text:
            continue  # a command, an option's value or an outcome
        assert all(_defined(part, sources) for part in name.split(".")), (
            f"{name} is in none of {files}"
        )


# The account is read before anything is bought, and the first events are those of the image.
CALLED_EARLIER = {"ApiExchange.perform"}
_TRACER = """
import json, sys, threading

called = {}

def note(frame, event, _argument):
    if event == "call" and "/crucible_batch/" in frame.f_code.co_filename:
        file = frame.f_code.co_filename.rpartition("/crucible_batch/")[2]
        called.setdefault((file, frame.f_code.co_qualname), len(called))

threading.setprofile(note)
sys.setprofile(note)
from crucible_batch.cli import main
try:
    main()
finally:
    sys.setprofile(None)
    with open("called.json", "w") as target:
        json.dump([list(each) for each in called], target)
"""


async def test_a_job_takes_the_path_that_is_described(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "photo.png")
    (tmp_path / "one.yaml").write_text(
        "version: 1\nname: one\nworkflow: qwen-edit\nbudget: {credits: 10}\njobs:\n"
        "- name: edit\n"
        "  prompt: 'A {{ style }} teapot'\n"
        "  image: photo.png\n"
        "  matrix: {style: [blue]}\n",
        encoding="utf-8",
    )
    async with serve(SandboxConfig(time_scale=0)) as gateway:
        environ = {
            **os.environ,
            "MOLTAZINE_API_KEY": gateway.api_key,
            "CRUCIBLE_API_BASE": gateway.api_url,
        }
        command = (sys.executable, "-c", _TRACER, "run", "one.yaml")
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environ, stdout=-1, stderr=-1
        )
        _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    called = [
        tuple(each) for each in json.loads((tmp_path / "called.json").read_text(encoding="utf-8"))
    ]
    expected = list(_walked())
    assert len(expected) > 20
    assert [each for each in expected if each not in called] == []
    in_order = [each for each in expected if each[1] not in CALLED_EARLIER]
    assert in_order == sorted(in_order, key=called.index)
