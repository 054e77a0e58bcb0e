"""A manifest with a new name buys its jobs again: a plan and a run warn of the directory that knows
them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.runs import known_jobs

SHORT_JOBS = True

JOBS = "{name: fox, prompt: a fox}\n{name: hare, prompt: a hare, image: 1.png, workflow: qwen-edit}"


def as_named(bench: Any, name: str, jobs: str = JOBS) -> Path:
    """Write the bench's manifest under another name."""
    path: Path = bench.manifest(jobs)
    path.write_text(path.read_text().replace("name: trial", f"name: {name}", 1))
    return path


async def warnings_of(
    bench: Any, name: str, *, out_dir: str | None = None, jobs: str = JOBS, **options: Any
) -> list[str]:
    directory = bench.path / (out_dir or f"outputs/{name}/default")
    planned = await api.plan(
        as_named(bench, name, jobs), out_dir=directory, settings=bench.settings, **options
    )
    return list(planned.notes)


async def bought(bench: Any, name: str = "first", directory: str = "outputs/first/default") -> None:
    bench.picture("1.png")
    assert (await bench.run(as_named(bench, name), out_dir=bench.path / directory)).ok


async def test_a_plan_under_a_new_name_names_the_run_that_bought_its_jobs(start, monkeypatch):
    async with start() as bench:
        await bought(bench)
        monkeypatch.chdir(bench.path)
        (warning,) = await warnings_of(bench, "second")
        assert warning == (
            "2 of 2 jobs were bought before under the manifest name 'first', in "
            "outputs/first/default; under another name they are bought again. To reuse the images, "
            "set name: first in the manifest and use --out-dir outputs/first/default"
        )
        # What the warning advises is true: under that name nothing is new.
        known = await api.plan(
            as_named(bench, "first"), out_dir="outputs/first/default", settings=bench.settings
        )
        assert (known.states, known.notes) == ({"done": 2}, ())
        (part,) = await warnings_of(bench, "second", jobs=f"{JOBS}\n{{name: owl, prompt: an owl}}")
        assert part.startswith("2 of 3 jobs were ")


async def test_a_run_warns_before_it_buys_and_not_once_it_has_begun(start, caplog):
    async with start() as bench:
        await bought(bench)
        options = {"out_dir": bench.path / "outputs/second/default", "settings": bench.settings}
        caplog.set_level(logging.WARNING, "crucible_batch.runs")
        await api.run(as_named(bench, "second"), **options)
        assert "under the manifest name 'first'" in caplog.text
        caplog.clear()
        await api.run(as_named(bench, "second"), **options)
        assert (caplog.text, await warnings_of(bench, "second")) == ("", [])


async def test_what_is_bought_by_intention_is_not_warned_of(start):
    async with start() as bench:
        await bought(bench)
        assert await warnings_of(bench, "second", jobs="{name: fox, prompt: a vixen}") == []
        assert (
            await warnings_of(bench, "second", out_dir="outputs/second/night", run_id="night") == []
        )
        assert (
            await warnings_of(bench, "first", out_dir="outputs/first/night", run_id="night") == []
        )
        assert await warnings_of(bench, "second", out_dir="somewhere/else") == []


async def test_failed_jobs_were_not_bought(start):
    async with start() as bench:
        refused = "{name: bad, prompt: nsfw}"
        assert not (
            await bench.run(
                as_named(bench, "first", refused), out_dir=bench.path / "outputs/first/default"
            )
        ).ok
        assert await warnings_of(bench, "second", jobs=refused) == []


async def test_a_directory_of_its_own_is_named_with_its_option(start, monkeypatch):
    async with start() as bench:
        await bought(bench, directory="shop's/first")
        monkeypatch.chdir(bench.path)
        (warning,) = await warnings_of(bench, "second", out_dir="shop's/second")
        assert warning.endswith(
            """set name: first in the manifest and use --out-dir 'shop'"'"'s/first'"""
        )
        await bought(bench)
        (warning,) = await warnings_of(bench, "second", out_dir="outputs/first/second")
        assert warning.endswith(
            "set name: first in the manifest and use --out-dir outputs/first/default"
        )


@pytest.mark.parametrize(
    ("bound", "warning"),
    [("MOST_JOBS", "1 of the first 1 jobs were "), ("MOST_JOURNALS", "2 of 2 ")],
)
async def test_the_search_is_bounded(start, monkeypatch, bound, warning):
    """Of the directories, those of the same run id and the newest are read."""
    async with start() as bench:
        await bought(bench)
        for night in ("1", "2"):
            options = {"out_dir": bench.path / f"outputs/first/{night}", "run_id": night}
            await bench.run(as_named(bench, "first", "{name: fox, prompt: a fox}"), **options)
        monkeypatch.setattr(known_jobs, bound, 1)
        (found,) = await warnings_of(bench, "second")
        assert found.startswith(warning)
        monkeypatch.setattr(known_jobs, "MOST_LISTED", 0)
        assert await warnings_of(bench, "second") == []
