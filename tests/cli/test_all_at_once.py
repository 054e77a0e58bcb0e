"""All errors of a manifest are shown at once, whichever layer finds them, each once and at its place; nothing is spent.

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
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from PIL import Image

from crucible_batch.api import plan, run, validate
from crucible_batch.errors import ConsentError, GatewayError, KeyRefusedError, ManifestError, Problem
from crucible_batch.settings import Settings

from .conftest import KEY, Cli

HEAD = "version: 1\nname: trial\nworkflow: zimage-base\nbudget: {credits: 50}\n"

MANIFESTS = {
    "one of each layer": """\
version: 1
name: trial
«name: again
workflow: zimage-base
params: {«size.widht: 64}
«bugdet: {credits: 5}
retry: {attempts: «0}
jobs:
  - {name: a, prompt: «"{{ nope }}"}
  - {name: b, prompt: b, image: «gone.png, workflow: qwen-edit}
  - {name: c, prompt: c, image: «text.png, workflow: qwen-edit}
  - {name: d, prompt: d, workflow: «qwen-edti}
  - {name: e, prompt: e, params: {«sampler.sede: 1}}
  - {name: f, prompt: same}
  - {name: «g, prompt: same}
  - {name: «F, prompt: other}
  - {name: h, prompt: h, zip: «{x: [1], y: [1, 2]}}
""".replace("zip: «{", "«zip: {"),
    "form": """\
version: 1
name: trial
workflow: zimage-base
vars: {a: «.nan, «1: x, b: «*gone}
params: &p {size.width: «!!int 64}
«params: {sampler.seed: &q 1}
jobs:
  - {name: a, prompt: {«{ x }}, image: «gone.png}
  - {«<<: {name: b}, «promtp: x}
  - {«&k name: c, prompt: c, params: {sampler.seed: *q, «size.hieght: 1}, repeat: «1e999}
  - {name: d, prompt: d, params: *p, «prompt: e}
«---
version: 1
""",
    "within one job": """\
version: 1
name: trial
workflow: qwen-edit
jobs:
  - {name: «a/b, params: {size.batch_size: «4}, image: «gone.png, workflow: zimage-base}
  - {name: b, matrix: {s: «x}, «zip: {x: [1], y: [1, 2]}, prompt: «"{{ ( }}", image: «text.png}
  - {name: «"{% if %}", repeat: «0, prompt: «"@gone.txt", params: {«stpes: 1}, images: {«mask: photo.png}}
  - {name: d, prompt: «[x], image: «gone.png, fields: {«imgae: i}, params: {seed: «"{{ 1 / 0 }}"}}
  - {name: e, prompt: «"{{ row.nope }}", «foreahc: rows.csv, image: «text.png}
  - {name: f, prompt: «"{{ row.nope }}", foreach: rows.csv, image: «text.png, «xyzzy: 1}
  - {name: g, prompt: "{{ row.x }}", foreach: «gone.csv, image: «text.png}
""".replace("seed: «", "«seed: «").replace('prompt: «"{{ row.nope }}", «foreahc', 'prompt: "{{ row.nope }}", «foreahc'),
    "above the jobs": """\
version: 1
name: «5
workflow: «[zimage-base]
params: {size.batch_size: «2}
vars: {«row: 1}
matrix: {style: «noir}
output: {path: «"{nmae}"}
workflows: {qwen-edit: {params: {«stpes: 1}}, zimage-sheet: {«parms: {}}}
jobs:
  - {name: "a{{ style }}", prompt: "{{ row }}"}
  - {name: b, prompt: same, matrix: {}}
  - {name: «c, prompt: same, matrix: {}}
  - {name: d, prompt: d, workflow: qwen-edit, matrix: {}, image: photo.png}
  - {name: «d, prompt: e, matrix: {}}
""",
    "what to do about duplicates": """\
version: 1
name: trial
workflow: zimage-base
duplicates: «never
jobs:
  - {name: a, prompt: same}
  - {name: b, prompt: same}
  - {name: c, prompt: c, params: {«x: 1}}
""",
    "outputs that meet": """\
version: 1
name: trial
output: {path: "{workflow}-{name}"}
jobs:
  - {name: base-x, prompt: a, workflow: zimage}
  - {name: «x, prompt: b, workflow: zimage-base}
""".replace("workflow: zimage}", "workflow: «zimage}"),
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
    assert list(caught.value.problems) == sorted(caught.value.problems, key=lambda problem: problem.place)
    return list(caught.value.problems)


def places_of(problems: list[Problem]) -> list[tuple[int, int]]:
    return [(problem.place.line, problem.place.column) for problem in problems]


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_every_slip_of_every_layer_is_in_one_answer_and_none_twice(
    cli: Cli, gateway: str, folder: Path, text: str
) -> None:
    text, expected = marked(text)
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
    assert set(asked) <= {"metadata", "workflows"}, asked
    assert not (folder / "out").exists()
    assert not (folder / "outputs").exists()


def test_a_plan_shows_what_a_run_shows_and_validate_what_needs_no_gateway(gateway: str, folder: Path) -> None:
    text, expected = marked(MANIFESTS["one of each layer"])
    path = folder / "m.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError) as planned:
        asyncio.run(plan(path, settings=settings_of(gateway)))
    assert places_of(list(planned.value.problems)) == expected
    with pytest.raises(ManifestError) as validated:
        validate(path)
    only_the_gateway_knows = {"params.size.widht", "jobs[3].workflow", "jobs[4].params.sampler.sede"}
    assert [problem for problem in planned.value.problems if problem.field not in only_the_gateway_knows] == list(
        validated.value.problems
    )


@pytest.mark.parametrize("jobs", ["  - {name: a, promt: x}\n", "  - {name: a, prompt: x, image: gone.png}\n"])
def test_the_manifest_comes_before_a_missing_key_and_a_missing_gateway(folder: Path, jobs: str) -> None:
    path = folder / "m.yaml"
    path.write_text(HEAD + "jobs:\n" + jobs)
    no_key, broken = Settings(api_key=None), httpx.MockTransport(lambda _request: httpx.Response(418))
    for settings, transport in ((no_key, None), (settings_of("http://127.0.0.1:9"), broken)):
        (problem,) = problems_of_run(path, settings=settings, transport=transport)
        assert problem.field.startswith("jobs[0].")
    path.write_text(HEAD + "jobs:\n  - {name: a, prompt: x}\n")
    with pytest.raises(KeyRefusedError):
        asyncio.run(run(path, settings=no_key))
    with pytest.raises(GatewayError, match="HTTP_418"):
        asyncio.run(run(path, settings=settings_of("http://127.0.0.1:9"), transport=broken))


def test_the_manifest_comes_before_the_consent(cli: Cli, lonely_cli: Cli) -> None:
    name = cli.write("unasked", "- {name: fox, prompt: a fox, params: {sede: 1}}\n- {nmae: owl}", budget="")
    done = cli("run", name, "--json")
    assert (done.code, done.envelope["error"]["code"]) == (2, "INVALID_MANIFEST")
    fields = [problem["field"] for problem in done.envelope["data"]["problems"]]
    assert fields == ["jobs[0].params.sede", "jobs[1].nmae"]
    name = cli.write("unasked", budget="")
    for command in (cli, lonely_cli):
        done = command("run", name, "--json")
        assert (done.code, done.envelope["error"]["code"]) == (2, ConsentError.code)


def test_a_slip_in_a_hundred_thousand_rows_is_one_problem_and_soon(gateway: str, folder: Path) -> None:
    (folder / "big.csv").write_text("sku\n" + "".join(f"s{number}\n" for number in range(100_000)))
    path = folder / "m.yaml"
    path.write_text(
        HEAD
        + "params: {size.widht: 1}\njobs:\n"
        + '  - {name: "{{ row.sku }}", prompt: "{{ row.sku }} {{ row.nope }}", foreach: big.csv, repeat: 0}\n'
        + '  - {name: "b{{ row.sku }}", prompt: "{{ row.sku }}", image: "{{ row.sku }}.png", foreach: big.csv}\n'
    )
    began = time.process_time()
    with pytest.raises(ManifestError) as caught:
        asyncio.run(plan(path, settings=settings_of(gateway), max_jobs=1_000_000))
    assert time.process_time() - began < 15
    fields = Counter(problem.field for problem in caught.value.problems)
    assert fields["params.size.widht"] == fields["jobs[0].repeat"] == fields["jobs[0].prompt"] == 1
    assert len(caught.value.problems) == 100
    assert 0 < caught.value.omitted < 1000


# Each can stand in a manifest together with any of the others.
SLIPS_ABOVE = (
    "«xyzzy: 1",
    "«workflow: again",
    "retry: {attempts: «0}",
    "«1: a",
    "«budgets: 1",
    "output: {path: «'{name}<'}",
    "workflows: {qwen-edit: {«parms: {}}}",
    "vars: {brand: «.inf}",
)
SLIPS_IN_JOBS = (
    "{{name: j{n}, prompt: «'{{{{ nope }}}}'}}",
    "{{name: j{n}, prompt: '{n}', «promtp: x}}",
    "{{name: j{n}, prompt: '{n}', repeat: «0}}",
    "{{name: «j{n}/, prompt: '{n}'}}",
    "{{name: j{n}, prompt: «@@@}}".replace("«@@@", "«'@gone.txt'"),
    "{{name: j{n}, prompt: {{«{{ x }}}}}}",
    "{{name: j{n}, prompt: '{n}', «prompt: x}}",
    "{{name: j{n}, prompt: '{n}', params: {{size.batch_size: «2}}}}",
    "{{name: j{n}, prompt: '{n}', params: {{«size.widht: 2}}}}",
    "{{name: j{n}, prompt: '{n}', workflow: «none-{n}}}",
    "{{name: j{n}, prompt: '{n}', workflow: qwen-edit, image: «gone.png}}",
    "{{name: j{n}, prompt: '{n}', workflow: qwen-edit, image: «text.png}}",
    "{{name: j{n}, prompt: '{n}', «zip: {{a: [1], b: [1, 2]}}}}",
    "{{name: j{n}, prompt: '{n}', matrix: {{a: «1}}}}",
    "{{name: j{n}, prompt: '{n}', foreach: «gone.csv}}",
    "{{name: «SOUND, prompt: '{n}'}}",
    "{{name: «j{n}, prompt: sound}}",
    "{{name: j{n}, prompt: «!x '{n}'}}",
    "{{name: j{n}, prompt: '{n}', repeat: «*nowhere}}",
    "«{n}",
)
SOUND = "{{name: ok{n}, prompt: ok {n}}}"


@trying(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    above=st.lists(st.sampled_from(SLIPS_ABOVE), unique=True),
    within=st.lists(st.sampled_from([*SLIPS_IN_JOBS, SOUND]), max_size=12),
)
def test_whatever_slips_meet_each_is_named_at_its_place(
    gateway: str, folder: Path, above: list[str], within: list[str]
) -> None:
    jobs = ["{name: sound, prompt: sound}", *(job.format(n=number) for number, job in enumerate(within))]
    lines = [*above, "jobs:", *(f"  - {job}" for job in jobs)]
    text, expected = marked(HEAD + "\n".join(lines) + "\n")
    path = folder / "m.yaml"
    path.write_text(text)
    if not expected:
        assert asyncio.run(plan(path, settings=settings_of(gateway))).total == len(jobs)
        return
    found = problems_of_run(path, settings=settings_of(gateway), out_dir=folder / "out")
    assert places_of(found) == expected, text + "\n".join(map(str, found))
