"""All errors of a manifest's form are shown at once, then all of its jobs, each once and at its
place.

In the manifests here a « stands before each place that a problem is expected at.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from crucible_batch.api import plan, run
from crucible_batch.errors import (
    ConsentError,
    GatewayError,
    KeyRefusedError,
    ManifestError,
    Problem,
)
from crucible_batch.runs.draft import validate
from crucible_batch.settings import Settings
from tests.harness.commands import KEY, Cli

HEAD = "version: 1\nname: trial\nworkflow: zimage-base\nbudget: {credits: 50}\n"

FORMS = {
    "YAML": """\
version: 1
name: trial
workflow: zimage-base
vars: {a: «.nan, «1: x, b: «*gone}
params: &p {size.width: «!!int 64}
«params: {sampler.seed: &q 1}
jobs:
  - {name: a, prompt: {«{ x }}}
  - {«<<: {name: b}}
  - {name: i, «promtp: x}
  - {«&k name: c, prompt: c, params: {sampler.seed: *q}, repeat: «1e999}
  - {name: d, prompt: d, params: *p, «prompt: e}
«---
version: 1
""",
    "above the jobs": """\
version: 1
name: «5
«name: again
workflow: «[zimage-base]
params: {size.batch_size: 2}
«bugdet: {credits: 5}
retry: {attempts: «0}
duplicates: «never
matrix: {style: «noir}
workflows: {qwen-edit: {params: {stpes: 1}}, zimage-sheet: {«parms: {}}}
jobs:
  - {name: "a{{ style }}", prompt: "{{ nope }}", «promtp: x}
""",
    "between fields": """\
version: 1
name: trial
workflow: zimage-base
params: {«size.batch_size: 2}
vars: {«row: 1}
output: {path: «"{nmae}"}
jobs:
  - {name: a, prompt: "{{ nope }}", params: {size.batch_size: «4}, workflow: qwen-edit}
  - {name: b, matrix: {s: «x}, prompt: "{{ ( }}"}
  - {name: c, «zip: {x: [1], y: [1, 2]}}
  - {name: d, repeat: «0, prompt: «[x], image: gone.png}
""".replace("params: {«size.batch_size: 2}", "params: {size.batch_size: «2}"),
}

JOBS = {
    "one of each layer": """\
version: 1
name: trial
workflow: zimage-base
params: {«size.widht: 64}
jobs:
  - {name: a, prompt: «"{{ nope }}"}
  - {name: b, prompt: b, image: «gone.png, workflow: qwen-edit}
  - {name: c, prompt: c, image: «text.png, workflow: qwen-edit}
  - {name: d, prompt: d, workflow: «qwen-edti}
  - {name: e, prompt: e, params: {«sampler.sede: 1}}
  - {name: f, prompt: same}
  - {name: «g, prompt: same}
  - {name: «F, prompt: other}
""",
    "within one job": """\
version: 1
name: trial
workflow: qwen-edit
jobs:
  - {name: «a/b, image: «gone.png, workflow: zimage-base}
  - {name: b, prompt: «"{{ ( }}", image: «gone.png}
  - {name: «"{% if %}", prompt: «"@gone.txt"}
  - {name: d, image: text.png, params: {seed: «"{{ 1 / 0 }}"}}
  - {name: e, prompt: «"{{ row.nope }}", foreach: rows.csv, image: text.png}
  - {name: f, prompt: "{{ row.x }}", foreach: «gone.csv}
  - {name: g, image: «text.png, params: {«stpes: 1}, images: {«mask: photo.png}}
""",
    "outputs that meet": """\
version: 1
name: trial
output: {path: "{workflow}-{name}"}
jobs:
  - {name: base-x, prompt: a, workflow: «zimage}
  - {name: «x, prompt: b, workflow: zimage-base}
""",
}


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text without its marks, and line and column of each."""
    places: list[tuple[int, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split("«")
        ends = [sum(map(len, parts[: count + 1])) for count in range(len(parts) - 1)]
        places.extend((number, end + 1) for end in ends)
    return text.replace("«", ""), places


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "rows.csv").write_text("sku,x\n1,2\n3,4\n")
    return tmp_path


def settings_of(url: str) -> Settings:
    return Settings(api_key=KEY, base_url=url)


def requests_at(url: str) -> Counter[str]:
    """How often each operation was asked for, as the gateway itself counts."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        return Counter(json.load(answer)["requests"])


def problems_of_run(path: Path, **options: Any) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        asyncio.run(run(path, **options))
    assert list(caught.value.problems) == sorted(
        caught.value.problems, key=lambda problem: problem.place
    )
    return list(caught.value.problems)


def places_of(problems: list[Problem]) -> list[tuple[int, int]]:
    return [(problem.place.line, problem.place.column) for problem in problems]


@pytest.mark.parametrize("marked_text", [*FORMS.values(), *JOBS.values()], ids=[*FORMS, *JOBS])
def test_every_problem_of_a_phase_is_in_one_answer_and_none_twice(
    cli: Cli, gateway: str, folder: Path, marked_text: str
) -> None:
    text, expected = marked(marked_text)
    path = folder / "m.yaml"
    path.write_text(text)
    before = requests_at(gateway)
    found = problems_of_run(path, settings=settings_of(gateway), out_dir=folder / "out")
    assert places_of(found) == expected, "\n".join(map(str, found))
    done = cli("run", "m.yaml", "--json")
    assert (done.code, done.envelope["error"]["code"]) == (2, "INVALID_MANIFEST")
    shown = done.envelope["data"]["problems"]
    assert [(problem["line"], problem["column"]) for problem in shown] == expected
    assert f"{len(expected)} problems; nothing was spent" in done.err
    asked = requests_at(gateway) - before
    assert set(asked) <= (set() if marked_text in FORMS.values() else {"metadata", "workflows"}), (
        asked
    )
    assert not (folder / "out").exists()
    assert not (folder / "outputs").exists()


def test_a_plan_shows_what_a_run_shows_and_validate_what_needs_no_gateway(
    gateway: str, folder: Path
) -> None:
    text, expected = marked(JOBS["one of each layer"])
    path = folder / "m.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError) as planned:
        asyncio.run(plan(path, settings=settings_of(gateway)))
    assert places_of(list(planned.value.problems)) == expected
    with pytest.raises(ManifestError) as validated:
        validate(path)
    only_the_gateway_knows = {
        "params.size.widht",
        "jobs[3].workflow",
        "jobs[4].params.sampler.sede",
    }
    assert [
        problem for problem in planned.value.problems if problem.field not in only_the_gateway_knows
    ] == list(validated.value.problems)


@pytest.mark.parametrize(
    "jobs", ["  - {name: a, promt: x}\n", "  - {name: a, prompt: x, image: gone.png}\n"]
)
def test_the_manifest_comes_before_a_missing_key_and_a_missing_gateway(
    folder: Path, jobs: str
) -> None:
    path = folder / "m.yaml"
    path.write_text(HEAD + "jobs:\n" + jobs)
    no_key, broken = (
        Settings(api_key=None),
        httpx.MockTransport(lambda _request: httpx.Response(418)),
    )
    for settings, transport in ((no_key, None), (settings_of("http://127.0.0.1:9"), broken)):
        (problem,) = problems_of_run(path, settings=settings, transport=transport)
        assert problem.field.startswith("jobs[0].")
    path.write_text(HEAD + "jobs:\n  - {name: a, prompt: x}\n")
    with pytest.raises(KeyRefusedError):
        asyncio.run(run(path, settings=no_key))
    with pytest.raises(GatewayError, match="HTTP_418"):
        asyncio.run(run(path, settings=settings_of("http://127.0.0.1:9"), transport=broken))


def test_the_manifest_comes_before_the_consent(cli: Cli, lonely_cli: Cli) -> None:
    for job, field in (
        ("prompt: a fox, params: {sede: 1}", "params.sede"),
        ("promtp: a fox", "promtp"),
    ):
        name = cli.write("unasked", f"- {{name: fox, {job}}}", budget="")
        done = cli("run", name, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, "INVALID_MANIFEST")
        fields = [problem["field"] for problem in done.envelope["data"]["problems"]]
        assert fields == [f"jobs[0].{field}"]
    name = cli.write("unasked", budget="")
    for command in (cli, lonely_cli):
        done = command("run", name, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, ConsentError.code)


@pytest.mark.parametrize("rows", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_slip_in_all_rows_is_one_problem_and_soon(gateway: str, folder: Path, rows: int) -> None:
    (folder / "big.csv").write_text("sku\n" + "".join(f"s{number}\n" for number in range(rows)))
    path = folder / "m.yaml"
    path.write_text(
        HEAD
        + "params: {size.widht: 1}\njobs:\n  - {name: right, prompt: right}\n"
        + '  - {name: "{{ row.sku }}", prompt: "{{ row.sku }} {{ row.nope }}", foreach: big.csv}\n'
        + (
            '  - {name: "b{{ row.sku }}", prompt: "{{ row.sku }}", '
            'image: "{{ row.sku }}.png", foreach: big.csv}\n'
        )
    )
    began = time.process_time()
    with pytest.raises(ManifestError) as caught:
        asyncio.run(plan(path, settings=settings_of(gateway), max_jobs=1_000_000))
    assert time.process_time() - began < 15
    fields = Counter(problem.field for problem in caught.value.problems)
    assert fields["params.size.widht"] == fields["jobs[1].prompt"] == 1
    assert len(caught.value.problems) == 2 + 50  # of each entry


# Each can be in a manifest together with any of the others of its phase.


# What holds between fields is checked once the fields above the jobs have the right shape.
