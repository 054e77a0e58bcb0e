"""Files that -o names: only one of our own kind is overwritten, unless it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness.features import has_feature

WRITERS = {"plan": ("plan", "targets.yaml"), "schema": ("schema",)}


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_a_table_of_the_manifest_is_not_overwritten_unless_it_is_said(
    cli: Any, command: tuple[str, ...]
) -> None:
    table = "n\n1\n2\n"
    (cli.cwd / "rows.csv").write_text(table)
    cli.write("targets", "- {name: 'a{{ row.n }}', prompt: '{{ row.n }}', foreach: rows.csv}")
    for target in ("rows.csv", "targets.yaml", "there/link.json"):
        (cli.cwd / "there").mkdir(exist_ok=True)
        if target.endswith("link.json"):
            (cli.cwd / target).symlink_to("../rows.csv")
        before = (cli.cwd / target).read_bytes()
        done = cli(*command, "-o", target)
        assert done.code == 2, done.err
        assert "USAGE" in done.err
        assert (cli.cwd / target).read_bytes() == before
    assert cli(*command, "-o", "there/link.json", "--force").code == 2
    assert (cli.cwd / "rows.csv").read_text() == table
    assert cli(*command, "-o", "rows.csv", "--force").code == 0
    assert (cli.cwd / "rows.csv").read_text().startswith("{\n")


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_what_was_written_is_overwritten_unasked_but_not_by_another_kind(
    cli: Any, command: tuple[str, ...]
) -> None:
    cli.write("targets")
    for _ in range(2):
        assert cli(*command, "-o", "out.json").code == 0
    other = WRITERS["schema" if command[0] == "plan" else "plan"]
    before = (cli.cwd / "out.json").read_bytes()
    assert cli(*other, "-o", "out.json").code == 2
    assert (cli.cwd / "out.json").read_bytes() == before


def test_each_schema_is_known_again(cli: Any) -> None:
    of_features = ["--notification"] if has_feature("notify") else []
    for option in ("--report", "--plan", *of_features):
        assert cli("schema", option, "-o", "schema.json").code == 0
        assert cli("schema", "-o", "schema.json").code == 0
    (cli.cwd / "schema.json").write_text(
        json.dumps({"$schema": "x", "title": "somebody's own"}, indent=2)
    )
    assert cli("schema", "-o", "schema.json").code == 2


@pytest.mark.parametrize("target", ["nowhere/out.json", "x" * 300, "d/" * 1500 + "out.json"])
@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_a_file_that_cannot_be_made_is_a_fault_of_the_command_line(
    cli: Any, command: tuple[str, ...], target: str
) -> None:
    cli.write("targets")
    done = cli(*command, "-o", target)
    assert (done.code, "USAGE" in done.err) == (2, True)
