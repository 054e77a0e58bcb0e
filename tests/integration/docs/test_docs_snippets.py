"""What a page says is what happens: each page is typed from top to bottom by a reader with a local
gateway.

What a block is, its language says:

- ``console``: each ``$`` line is run, and the lines below it are its output (see
  ``transcript.py``). ``^C`` is pressed once a job is done; numbers don't count in such a block.
- ``sh``: each line is run and has to end with 0, but for what makes the environment that the test
  has already, and the sandbox and the viewer, which would never end.
- ``text``: commands for another machine, or for a program that is not here.
- any other under a line such as "`NAME`:" is written to the file of that name; ``yaml`` is loaded
  as a manifest, too.
- ``python`` is run; ``json`` is read; the lines of a ``crontab`` are parsed; each branch of a tree
  has to be there.

``tests/unit/test_printed_commands.py`` checks that each command exists, with its options.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import crucible_batch
from crucible_batch import validate
from crucible_batch.errors import ManifestError
from crucible_batch.sandbox import SandboxConfig, serve
from tests.harness.case_table import each_case
from tests.integration.docs.page import PAGES, ROOT, Block, blocks, prose, title
from tests.integration.docs.reader import Reader
from tests.integration.docs.transcript import disagreement, steps
from tests.unit.test_public_types import types_of_fields

_ENVIRONMENT = {"make", "pip", "export", "."}
EXPORTED = ("# Written by `crucible-batch schedule export`", "apiVersion:")
_ENDLESS = {"sandbox", "view", "schedule"}
_CRON_TIME = re.compile(r"((?:[\d*,/-]+ +){4}[\d*,/-]+) +(.+)")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TYPED = [page for page in PAGES if list(blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED, ids=title)
async def test_a_page_says_what_happens(page: Path, tmp_path: Path) -> None:
    fault = await _type(page, tmp_path)
    assert fault is None, fault


async def test_a_reader_stays_in_the_folder_that_was_entered(tmp_path: Path) -> None:
    async with serve(SandboxConfig(time_scale=0)) as gateway:
        reader = Reader(tmp_path, gateway)
        await reader.types("mkdir inner")
        await reader.types("cd missing")
        assert (await reader.types("pwd")).out.strip() == str(tmp_path)
        await reader.types("cd inner   # the folder")
        assert (await reader.types("pwd")).out.strip() == str(tmp_path / "inner")
        await reader.types("cd ..")
        assert (await reader.types("pwd")).out.strip() == str(tmp_path)


async def _type(page: Path, folder: Path) -> str | None:
    # One slow runner, where Ctrl-C has to come in the middle.
    is_interrupted = "\n^C\n" in page.read_text(encoding="utf-8")
    async with serve(
        SandboxConfig(runners=1) if is_interrupted else SandboxConfig(time_scale=0)
    ) as gateway:
        reader = Reader(folder, gateway)
        if "--shards" in page.read_text(encoding="utf-8"):  # their journals are in it
            reader.environment["XDG_STATE_HOME"] = str(folder / "state")
        for block in blocks(page):
            fault = await _fault_of(block, reader)
            if fault is not None:
                return f"{title(page)}:{block.line}: {fault}"
    return None


async def _fault_of(block: Block, reader: Reader) -> str | None:
    match block.language:
        case _ if block.text.startswith(EXPORTED):
            return None  # test_schedule_page.py compares exported files
        case "console":
            return await _console(block, reader)
        case "sh":
            return await _sh(block, reader)
        case "yaml":
            return _load(block, reader.folder)
        case "python":
            done = await reader.python(block.text)
            return done.err if done.code else None
        case "json":
            json.loads(block.text)
        case "crontab":
            return "; ".join(filter(None, map(_cron_fault, block.text.splitlines()))) or None
        case _ if block.file is not None:
            (reader.folder / block.file).write_text(block.text, encoding="utf-8")
        case "":
            return _tree_fault(block, reader.folder)
        case "text":
            pass
        case other:
            return f"nothing is known of blocks of the kind {other!r}"
    return None


async def _console(block: Block, reader: Reader) -> str | None:
    typed = steps(block.text)
    for number, step in enumerate(typed):
        code_is_shown = number + 1 < len(typed) and typed[number + 1].command == "echo $?"
        done = await reader.types(_recipe(step.command), interrupt=step.is_interrupted)
        if done.code and not (step.may_fail or code_is_shown):
            return f"{step.command}: exit {done.code}\n{done.out}{done.err}"
        # An exit code is what a page says of it, also where no other number is.
        numbers = "\n^C\n" in block.text and step.command != "echo $?"
        fault = disagreement(step, done.out, done.err, numbers=numbers)
        if fault is not None:
            return f"{step.command}: {fault}"
    return None


async def _sh(block: Block, reader: Reader) -> str | None:
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make" and f"\n{words[1]}:" not in MAKEFILE:
            return f"{line}: no such target"
        if (
            words[0] in _ENVIRONMENT
            or words[1:3] == ["-m", "venv"]
            or (words[0] == "crucible-batch" and words[1] in _ENDLESS)
        ):
            continue
        done = await reader.types(line)
        if done.code:
            return f"{line}: exit {done.code}\n{done.out}{done.err}"
    return None


def _recipe(command: str) -> str:
    """Return what make would run, for a target of make; else the command as it is."""
    if not command.startswith("make "):
        return command
    (recipe,) = re.findall(rf"^{command.split()[1]}:.*\n\t@?(.+)$", MAKEFILE, flags=re.MULTILINE)
    return str(recipe).replace("$(BIN)/", "")


def _load(block: Block, folder: Path) -> str | None:
    """Write a manifest and load it; one without a name is loaded beside a table and a photo."""
    if block.file is None:
        folder = folder / f"at-line-{block.line}"
        (folder / "photos").mkdir(parents=True)
        Image.new("RGB", (8, 8), "navy").save(folder / "photos" / "A1.jpg")
        (folder / "products.csv").write_text("sku,title,seed\nA1,A blue vase,7\n", encoding="utf-8")
    path = folder / (block.file or "manifest.yaml")
    path.write_text(block.text, encoding="utf-8")
    try:
        validate(path)
    except ManifestError as error:
        return str(error)
    return None


def _tree_fault(block: Block, folder: Path) -> str | None:
    """Say which branch of a tree isn't there, where a block is one."""
    root = folder / block.text.splitlines()[0]
    branches = re.findall(r"^[├└]── (\S+)", block.text, flags=re.MULTILINE)
    return next(
        (
            f"{name} isn't there"
            for name in branches
            if name != "..." and not (root / name).exists()
        ),
        None,
    )


def _cron_fault(line: str) -> str | None:
    found = _CRON_TIME.fullmatch(line)
    if found is None:
        return f"no line of a crontab: {line!r}"
    if re.search(r"(?<!\\)%", found[2]):
        return f"a bare % ends the command: {line!r}"
    return None


@each_case("page", PAGES)
def test_a_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(page))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_every_name_of_the_package_is_in_the_python_reference() -> None:
    """But those that are only the types of fields, which the page names as such."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\.\. auto\w+:: crucible_batch\.(\w+)", page, flags=re.MULTILINE))
    named = {name: getattr(crucible_batch, name) for name in crucible_batch.__all__}
    of_fields = {each.__name__ for public in named.values() for each in types_of_fields(public)}
    assert documented <= named.keys()
    assert named.keys() - documented <= of_fields | {"__version__"}
