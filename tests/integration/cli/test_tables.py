"""Manifests whose rows come from a .tsv or a .txt file, run on the sandbox."""

from __future__ import annotations

import json
from typing import Any

from tests.harness.commands import Cli

PROMPTS = "\ufeffa fox in the snow\r\n\r\n  a hen, brown  \r\n"
GOODS = "sku\ttitle\r\nV-1\tvase, blue\r\nM-2\tmug\r\n"


def prompts_of(cli: Cli, name: str) -> dict[str, Any]:
    report = json.loads(
        (cli.cwd / f"outputs/{name}/default/report.json").read_text(encoding="utf-8")
    )
    return {
        job["name"]: job["params"]["prompt.text"]
        for job in report["jobs"]
        if job["status"] == "succeeded"
    }


def test_a_text_of_prompts_and_a_tsv_are_run(cli: Cli) -> None:
    (cli.cwd / "prompts.txt").write_text(PROMPTS, encoding="utf-8", newline="")
    (cli.cwd / "goods.tsv").write_text(GOODS, encoding="utf-8", newline="")
    cli.write(
        "tables",
        "- {name: line, foreach: prompts.txt, prompt: '{{ row.line }}'}\n"
        "- {name: '{{ row.sku }}', foreach: goods.tsv, prompt: 'a {{ row.title }}'}",
    )
    done = cli("run", "tables.yaml")
    assert done.code == 0, done.err
    assert prompts_of(cli, "tables") == {
        "line-1": "a fox in the snow",
        "line-2": "a hen, brown",
        "V-1": "a vase, blue",
        "M-2": "a mug",
    }


def test_a_problem_of_a_line_shows_the_line_of_the_file(lonely_cli: Cli) -> None:
    (lonely_cli.cwd / "prompts.txt").write_text("a fox\n\na hen\n")
    lonely_cli.write(
        "lines", "- {name: line, foreach: prompts.txt, prompt: x, image: '{{ row.line }}.png'}"
    )
    done = lonely_cli("validate", "lines.yaml")
    assert done.code == 2
    assert "prompts.txt:3:\n   3 │ a hen\n" in done.err
