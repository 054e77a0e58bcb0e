"""Rejected outputs that are bought again: one run, the same command again, and lost directories."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.core.identity import content_of, idempotency_key
from crucible_batch.errors import UserError
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.journal import Journal
from crucible_batch.runs.run_journal import local_directory
from tests.harness.object_store import URL
from tests.harness.stopped_runs import STRIDE, Killer

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEROES = '{name: hero, prompt: "heron {{ repeat }}", repeat: 3}'
REJECTS = "rejects: rejects.txt\n"


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


def rows_of(result: api.RunResult) -> dict[str, Any]:
    return {row.name: row for row in result.jobs()}


def digests(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*.png")}


async def test_a_rejected_output_is_bought_again_and_the_earlier_take_stays(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        before = digests(first.run_dir)
        reject(first.run_dir, ["hero-2"], reason="six fingers")
        second = await bench.run(manifest)
        await bench.agree(second)
        assert second.ok
        assert await bought(bench) == 4
        row = rows_of(second)["hero-2"]
        (output,), (take,) = row.outputs, row.takes
        assert (row.generation, output.generation, take.generation) == (1, 1, 0)
        assert output.path == second.run_dir / "hero-2/0.png"
        assert take.path.name == f"0.{take.sha256[:8]}.png"
        assert take.path.read_bytes() == before["hero-2/0.png"] != output.path.read_bytes()
        assert [rows_of(second)[name].takes for name in ("hero-1", "hero-3")] == [[], []]
        assert (manifest.parent / "rejects.txt").read_text() == (
            f"hero-2/0 g0 {take.sha256[:12]} six fingers\n"
        )


async def test_the_same_command_again_buys_nothing_and_changes_nothing(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["hero-2"])
        second = await bench.run(manifest)
        report = (first.run_dir / "report.json").read_bytes()
        with Journal.read(first.run_dir) as journal:
            plan = list(journal.plan())
        for _ in range(2):
            again = await bench.run(manifest)
            assert again.ok
        with Journal.read(first.run_dir) as journal:
            assert list(journal.plan()) == plan
        assert (first.run_dir / "report.json").read_bytes() == report
        assert await bought(bench) == 4
        assert rows_of(again)["hero-2"].outputs == rows_of(second)["hero-2"].outputs


async def test_the_keys_are_those_of_the_generations(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest('{name: hero, prompt: "heron"}', head=REJECTS)
        first = await bench.run(manifest)
        content = rows_of(first)["hero"].idempotency_key
        reject(first.run_dir, ["hero"])
        second = await bench.run(manifest)
        with Journal.read(first.run_dir) as journal:
            (planned,) = journal.plan()
        row = rows_of(second)["hero"]
    assert row.idempotency_key != content
    assert planned.identity.endswith(":g1")
    assert idempotency_key(content_of(planned.identity), 1) == content
    assert idempotency_key(planned.identity, 1) == row.idempotency_key


async def test_after_the_loss_of_all_local_state_the_same_takes_are_found_for_nothing(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
        reject(result.run_dir, ["hero-3"])
        result = await bench.run(manifest)
        before, files = await bench.state(), digests(result.run_dir)
        rows = rows_of(result)
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        after = await bench.state()
        assert found.ok
        assert after["jobs"] == before["jobs"]
        assert after["ledger"] == before["ledger"]
        assert digests(found.run_dir) == files
        for name, row in rows_of(found).items():
            assert [take.sha256 for take in row.takes] == [take.sha256 for take in rows[name].takes]
            assert [each.sha256 for each in row.outputs] == [
                each.sha256 for each in rows[name].outputs
            ]
        await bench.agree(found)


async def test_a_line_that_is_taken_back_shows_the_earlier_output_and_buys_nothing(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=f"{REJECTS}provenance: {{sidecar: true}}\n")
        first = await bench.run(manifest)
        one = rows_of(first)["hero-2"]
        first_bytes = one.outputs[0].path.read_bytes()
        reject(first.run_dir, ["hero-2"])
        two = rows_of(await bench.run(manifest))["hero-2"]
        reject(first.run_dir, ["hero-2"], remove=True)
        third = await bench.run(manifest)
        assert third.ok
        assert await bought(bench) == 4
        three = rows_of(third)["hero-2"]
        assert [each.sha256 for each in three.outputs] == [each.sha256 for each in one.outputs]
        assert [each.sha256 for each in three.takes] == [each.sha256 for each in two.outputs]
        assert (three.outputs[0].path, three.takes[0].path.name) == (
            one.outputs[0].path,
            f"0.{two.outputs[0].sha256[:8]}.png",
        )
        assert three.outputs[0].path.read_bytes() == first_bytes
        sidecar = json.loads(Path(f"{three.outputs[0].path}.json").read_text())
        assert sidecar["output"]["sha256"] == one.outputs[0].sha256
        await bench.verify()
        reject(first.run_dir, ["hero-2"])
        fourth = await bench.run(manifest)
        assert await bought(bench) == 4
        assert [each.sha256 for each in rows_of(fourth)["hero-2"].outputs] == [
            each.sha256 for each in two.outputs
        ]


# -- what is not bought


async def test_no_more_than_the_maximum_is_bought_and_the_job_ends_as_rejected(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=f"{REJECTS}redo: {{max: 1}}\n")
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
        assert result.exit_code == 1
        assert await bought(bench) == 4
        row = rows_of(result)["hero-2"]
        assert (row.status, row.error.code, row.outputs) == ("blocked", "REDO_LIMIT", [])
        assert [take.generation for take in row.takes] == [0, 1]
        assert "line 2" in row.error.message
        again = await bench.run(manifest)
        assert (again.exit_code, await bought(bench)) == (1, 4)
        more = bench.manifest(HEROES, head=f"{REJECTS}redo: {{max: 2}}\n")
        assert (await bench.run(more)).ok
        assert await bought(bench) == 5


async def test_after_a_loss_the_maximum_holds_as_well(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=f"{REJECTS}redo: {{max: 1}}\n")
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        assert (found.exit_code, await bought(bench)) == (1, 4)
        row = rows_of(found)["hero-2"]
        assert (row.status, row.error.code, row.outputs) == ("blocked", "REDO_LIMIT", [])
        assert [take.generation for take in row.takes] == [0, 1]


async def test_the_same_bytes_again_end_the_job(start: Any, tampered: Any) -> None:
    """A workflow may have a seed of its own: what is asked for again is the same picture."""
    first: list[httpx.Response] = []

    async def the_same(_request: httpx.Request, send: Any) -> httpx.Response:
        answer = await send()
        if not answer.headers.get("content-type", "").startswith("image/"):
            return answer
        await answer.aread()
        first.append(answer)
        return httpx.Response(200, headers=first[0].headers, content=first[0].content)

    async with start() as bench:
        manifest = bench.manifest('{name: hero, prompt: "heron"}', head=REJECTS)
        result = await bench.run(manifest, transport=tampered(the_same))
        reject(result.run_dir, ["hero"])
        for _ in range(2):
            again = await bench.run(manifest, transport=tampered(the_same))
            assert (again.exit_code, await bought(bench)) == (1, 2)
            row = rows_of(again)["hero"]
            assert (row.status, row.error.code) == ("blocked", "SAME_OUTPUT")
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest, transport=tampered(the_same))
        assert (found.exit_code, await bought(bench)) == (1, 2)
        assert rows_of(found)["hero"].error.code == "SAME_OUTPUT"


SEEDED = '{name: hero, prompt: "heron", params: {sampler.seed: 7}}'


async def test_a_fixed_seed_is_refused_before_anything_is_spent(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(f"{SEEDED}\n{HEROES.replace('hero', 'other')}", head=REJECTS)
        result = await bench.run(manifest)
        reject(result.run_dir, ["hero", "other-1"])
        with pytest.raises(UserError, match="its seed is fixed") as refused:
            await bench.run(manifest)
        assert "another sampler.seed" in str(refused.value.hint)
        with pytest.raises(UserError, match="its seed is fixed"):
            await api.plan(manifest, out_dir=result.run_dir, settings=bench.settings)
        assert await bought(bench) == 4
        another = bench.manifest(
            f"{SEEDED.replace('7', '8')}\n{HEROES.replace('hero', 'other')}", head=REJECTS
        )
        assert (await bench.run(another)).ok
        assert await bought(bench) == 6


async def test_a_fixed_seed_that_is_found_during_the_run_ends_the_job(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SEEDED, head=REJECTS)
        result = await bench.run(manifest)
        reject(result.run_dir, ["hero"])
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        assert (found.exit_code, await bought(bench)) == (1, 1)
        assert rows_of(found)["hero"].error.code == "FIXED_SEED"


async def test_a_changed_job_is_not_the_one_that_was_rejected(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(HEROES, head=REJECTS))
        reject(result.run_dir, ["hero-2"])
        changed = bench.manifest(HEROES.replace("heron", "owl"), head=REJECTS)
        for _ in range(2):
            assert (await bench.run(changed)).ok
            assert await bought(bench) == 6


async def test_a_renamed_job_stays_rejected(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(HEROES, head=REJECTS))
        reject(result.run_dir, ["hero-2"])
        renamed = bench.manifest(HEROES.replace("hero", "star", 1), head=REJECTS)
        for _ in range(2):
            result = await bench.run(renamed)
            assert result.ok
            assert await bought(bench) == 4
        assert [row.generation for row in result.jobs()] == [0, 1, 0]


async def test_the_next_generation_waits_for_the_budget(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, budget=7, head=REJECTS)
        result = await bench.run(manifest)
        spent = result.report.credits.spent
        reject(result.run_dir, ["hero-2"])
        short = await bench.run(manifest)
        assert (short.exit_code, await bought(bench)) == (4, 3)
        assert short.report.credits.spent == spent
        row = rows_of(short)["hero-2"]
        assert (row.status, row.outputs, len(row.takes)) == ("blocked", [], 1)
        assert (await bench.run(manifest, budget="8")).ok
        assert await bought(bench) == 4


# -- kills and losses


async def test_a_run_that_is_killed_at_any_effect_buys_each_generation_once(
    start: Any, tampered: Any
) -> None:
    """Among these moments is the one between a rejected output and the plan of the next job."""
    async with start() as bench:
        for n in itertools.count(0, 2 * STRIDE):
            before = await bought(bench)
            jobs = f'{{name: hero, prompt: "heron {n}"}}\n{{name: owl, prompt: "owl {n}"}}'
            manifest = bench.manifest(jobs, budget="12", head=REJECTS)
            options: dict[str, Any] = {"run_id": f"r{n}", "out_dir": bench.path / f"out-{n}"}
            first = await bench.run(manifest, **options)
            reject(first.run_dir, ["hero"])
            if n % 2:
                shutil.rmtree(first.run_dir)
            killer = Killer(n)
            await killer.run(bench, tampered, manifest, **options)
            result = await bench.run(manifest, **options)
            assert result.exit_code == 0, (n, result.report)
            state = await bench.state()
            assert (state["audit"]["problems"], state["violations"]) == ([], [])
            assert len(state["jobs"]) - before == 3, n
            row = rows_of(result)["hero"]
            assert (row.generation, len(row.outputs), len(row.takes)) == (1, 1, 1)
            if not killer.has_struck:
                break


async def test_receipts_bring_the_generations_back(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
        rows, files = rows_of(result), digests(result.run_dir)
        shutil.rmtree(result.run_dir / ".crucible")
        submits = (await bench.state())["requests"]["generate"]
        found = await bench.run(manifest)
        assert found.ok
        assert (await bench.state())["requests"]["generate"] == submits
        assert digests(found.run_dir) == files
        assert [take.sha256 for take in rows_of(found)["hero-2"].takes] == [
            take.sha256 for take in rows["hero-2"].takes
        ]


# -- where outputs are, and what is in them


async def test_outputs_in_an_object_store_are_redone_as_well(start: Any, store: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)

        def pictures() -> dict[str, bytes]:
            return {key: store.content[key] for key in store.content if key.endswith(".png")}

        await bench.run(manifest, out_dir=URL)
        first = pictures()
        reject(URL, ["hero-2"])
        result = await bench.run(manifest, out_dir=URL)
        second = pictures()
        assert (result.ok, await bought(bench)) == (True, 4)
        (take,) = second.keys() - first.keys()
        assert second[take] == first["hero-2/0.png"] != second["hero-2/0.png"]
        # It would be performed late, of a process that was killed, on the output of another one.
        assert store.requests["delete png"] == 0
        shutil.rmtree(local_directory(URL))
        found = await bench.run(manifest, out_dir=URL)
        assert (found.ok, await bought(bench), pictures()) == (True, 4, second)
        reject(URL, ["hero-2"], remove=True)
        undone = await bench.run(manifest, out_dir=URL)
        assert (undone.ok, await bought(bench)) == (True, 4)
        assert pictures()["hero-2/0.png"] == first["hero-2/0.png"]
        assert len(pictures()) == 4


async def test_a_line_names_the_bytes_as_the_gateway_sent_them(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=f"{REJECTS}provenance: {{embed: true}}\n")
        first = await bench.run(manifest)
        (output,) = rows_of(first)["hero-2"].outputs
        assert output.sent is not None
        reject(first.run_dir, ["hero-2"])
        assert output.sent.sha256[:12] in (manifest.parent / "rejects.txt").read_text()
        assert (await bench.run(manifest)).ok
        assert await bought(bench) == 4
        shutil.rmtree(first.run_dir)
        plain = bench.manifest(HEROES, head=REJECTS)
        found = await bench.run(plain)
        assert (found.ok, await bought(bench)) == (True, 4)
        assert rows_of(found)["hero-2"].generation == 1


async def test_a_program_names_the_file_of_rejections(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES)
        first = await bench.run(manifest)
        lines = bench.path / "mine.txt"
        changed = reject(first.run_dir, ["hero-1"], file=lines)
        assert [each.output for each in changed.added] == ["hero-1/0"]
        assert (await bench.run(manifest)).ok
        assert await bought(bench) == 3
        assert (await bench.run(manifest, rejects=lines)).ok
        assert await bought(bench) == 4


async def test_only_the_chosen_jobs_are_bought_again(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["hero-1", "hero-2"])
        assert (await bench.run(manifest, only=["hero-2"])).ok
        assert await bought(bench) == 4
        assert (await bench.run(manifest)).ok
        assert await bought(bench) == 5


async def test_jobs_of_a_stream_come_with_the_output_that_counts(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["hero-2"])
        await bench.run(manifest)
        shutil.rmtree(first.run_dir)
        running = api.run_jobs(manifest, out_dir=first.run_dir, settings=bench.settings, html=False)
        given = [(job.name, job.generation) async for job in running]
        # The rejected output may come too, but never after the one that counts.
        assert dict(given) == {"hero-1": 0, "hero-2": 1, "hero-3": 0}
        assert len(given) - given.count(("hero-2", 0)) == 3
        assert await bought(bench) == 4
