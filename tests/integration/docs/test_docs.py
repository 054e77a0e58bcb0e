"""What the docs hold that the program makes is what the program makes today."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from benchmarks import table
from crucible_batch.cli.display.json_lines import LINES
from crucible_batch.core.events import EVENT_NAMES
from crucible_batch.core.job import Phase
from crucible_batch.core.progress import Message
from crucible_batch.errors import ExitCode
from tests.harness.case_table import each_case
from tests.harness.forked_commands import run_command
from tests.integration.docs.page import PAGES, blocks
from tests.integration.docs.transcript import steps

DOCS = Path(__file__).parents[3] / "docs"


def _printed(*words: str) -> str:
    done = run_command(words, cwd=DOCS, env=os.environ, timeout_s=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("manifest.schema.json", []),
        ("report.schema.json", ["--report"]),
        ("plan.schema.json", ["--plan"]),
        ("notification.schema.json", ["--notification"]),
    ],
    ids=["manifest", "report", "plan", "notification"],
)
def test_a_schema_in_the_docs_is_todays(file: str, options: list[str]) -> None:
    """Made by ``make schema``."""
    kept, made = (
        json.loads((DOCS / file).read_text(encoding="utf-8")),
        json.loads(_printed("schema", *options)),
    )
    if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14):
        # Older releases describe no dataclass, and give a pattern for amounts in plans.
        kept, made = _without_texts(kept), _without_texts(made)
    assert kept == made, f"docs/{file}: run make schema"


def _without_texts(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _without_texts(each)
            for key, each in schema.items()
            if key not in {"description", "pattern"}
        }
    return [_without_texts(each) for each in schema] if isinstance(schema, list) else schema


def test_a_reference_page_is_todays() -> None:
    """Made by ``make reference``."""
    made = runpy.run_path(str(DOCS / "make_reference.py"))
    pages = {page.file: made["render"](page) for page in made["pages"]()}
    assert set(pages) == {
        "manifest-reference.md",
        "report-reference.md",
        "notification-reference.md",
    }
    for file, text in pages.items():
        assert (DOCS / file).read_text(encoding="utf-8") == text, f"{file}: run make reference"


@pytest.mark.parametrize("page", table.PAGES, ids=lambda page: page.name)
def test_what_a_page_has_of_the_measurements_is_what_was_measured(page: Path) -> None:
    """Made by ``make bench``."""
    text = page.read_text(encoding="utf-8")
    assert table.filled(text, table.PAGES[page](table.load())) == text


def test_the_exit_codes_are_the_programs() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d+) \| (.+) \|$", page[: page.index("## ")], flags=re.MULTILINE)
    assert table == [(str(int(code)), code.meaning) for code in ExitCode]


def test_every_page_has_its_place_in_the_site() -> None:
    toctrees = re.findall(
        r"```{toctree}\n(.*?)```", "".join(_page(name) for name in ("index", "recipes")), re.DOTALL
    )
    placed = {
        line for tree in toctrees for line in tree.splitlines() if line and not line.startswith(":")
    }
    assert placed | {"index"} == {
        path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")
    }


def _page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_the_page_of_error_codes_is_todays() -> None:
    """Made by ``make reference``, too."""
    made = runpy.run_path(str(DOCS / "make_reference.py"))
    kept = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert kept == made["error_codes"](), "docs/errors.md: run make reference"


def test_every_line_of_json_is_in_the_docs() -> None:
    """The types are those of the table that words the messages: one row for each."""
    types = [kind for kind, _ in LINES.values()]
    assert set(LINES) == set(get_args(Message))
    table = re.findall(
        r"^\| `([a-z_]+)` \|", (DOCS / "events.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sorted(table) == sorted(
        ["type", *types, "scheduled_run", "result"]
    )  # the head, the events, and the command's own


def test_phases_and_events_of_jobs_and_images_are_in_the_docs_with_their_fields() -> None:
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    rows = [
        (word, rest.split("|"))
        for word, rest in re.findall(r"^\| \*([a-z_]+)\* \|(.*)\|$", text, flags=re.MULTILINE)
    ]
    assert sorted(word for word, cells in rows if len(cells) == 1) == sorted(Phase)
    assert [
        (word, re.findall(r"`([a-z_0-9]+)`", cells[1])) for word, cells in rows if len(cells) == 2
    ] == [
        (_snake_case(name), [field for field in kind.__struct_fields__ if field != "at"])
        for name, kind in EVENT_NAMES.items()
    ]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@each_case("page", [page for page in PAGES if "--only" in page.read_text(encoding="utf-8")])
def test_a_part_tried_first_is_not_bought_twice(page: Path) -> None:
    """Jobs are reused within one run directory, so a part is run in the directory of the complete
    run."""
    commands = [
        step.command
        for block in blocks(page)
        if block.language == "console"
        for step in steps(block.text)
    ]
    parts = [shlex.split(command) for command in commands if "--only" in command]
    assert not [
        words
        for words in parts
        if {"--run-id", "--out-dir"} & {word.partition("=")[0] for word in words}
    ]
