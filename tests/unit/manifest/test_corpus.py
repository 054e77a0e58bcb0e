"""Thousands of manifests that mean harm end as a manifest should: taken or refused, soon, in little
memory, unseen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MOST_SECONDS = 4
"""Of the processor. The most values that are read at all take 1.7 to 2.6 s, by machine; what grows
faster than its text takes minutes."""
MOST_MB = 256
MUTANTS = int(os.environ.get("CRUCIBLE_TEST_MUTANTS", "2000"))
FIRST_MUTANT = int(os.environ.get("CRUCIBLE_TEST_FIRST_MUTANT", "0"))


def read_all(folder: Path, *arguments: str) -> tuple[list[dict[str, Any]], float]:
    """Have another process read a kind of manifests; return what it tells of each, and its peak of
    memory in MB."""
    (folder / "in").mkdir()
    command = [
        sys.executable,
        "-m",
        "tests.unit.manifest.reading",
        arguments[0],
        str(folder / "in"),
        *arguments[1:],
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # What a template could find there is a key; whatever is there must not come out.
        "MOLTAZINE_API_KEY": "moltazine_canary",
        # The bytecode of a module that is loaded meanwhile is no file that a manifest has written.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "moltazine_canary" not in ended.stdout
    *told, peak = [json.loads(line) for line in ended.stdout.splitlines()]
    return told, peak["peak_mb"]


def assert_harmless(told: list[dict[str, Any]], peak_mb: float) -> None:
    assert [one for one in told if one["outcome"] not in {"taken", "refused"}] == []
    assert [one for one in told if one["did"]] == []
    assert [one for one in told if one["seconds"] > MOST_SECONDS] == []
    assert peak_mb < MOST_MB


@pytest.mark.parametrize("kind", ["small", pytest.param("refused", marks=pytest.mark.slow)])
def test_what_means_harm_is_refused_soon_and_in_little_memory(tmp_path: Path, kind: str) -> None:
    told, peak_mb = read_all(tmp_path, kind)
    assert len(told) > 800
    assert_harmless(told, peak_mb)
    assert [one["name"] for one in told if one["outcome"] == "taken"] == []


@pytest.mark.slow
def test_an_odd_value_anywhere_is_taken_or_refused_and_no_more(tmp_path: Path) -> None:
    told, peak_mb = read_all(tmp_path, "any")
    assert len(told) > 2000
    assert_harmless(told, peak_mb)
    assert {one["outcome"] for one in told} == {"taken", "refused"}


@pytest.mark.slow
def test_mutants_of_a_sound_manifest_are_taken_or_refused_and_no_more(tmp_path: Path) -> None:
    """A fixed number of seeds; CRUCIBLE_TEST_MUTANTS and CRUCIBLE_TEST_FIRST_MUTANT make it more,
    or others."""
    told, peak_mb = read_all(tmp_path, "mutants", str(FIRST_MUTANT), str(FIRST_MUTANT + MUTANTS))
    assert len(told) == MUTANTS
    assert_harmless(told, peak_mb)
    taken = sum(one["outcome"] == "taken" for one in told)
    assert taken > MUTANTS // 50, "so few are taken that hardly any gets past the parser"


def test_the_watch_sees_what_reading_a_manifest_has_no_need_of(tmp_path: Path) -> None:
    from tests.unit.manifest.reading import Watch

    watch = Watch()
    watch.is_on = True
    watch("socket.connect", (None, ("127.0.0.1", 1)))
    watch("open", (str(tmp_path / "x"), "w", os.O_WRONLY | os.O_CREAT))
    watch("open", (str(tmp_path / "x"), "r", os.O_RDONLY))
    watch("subprocess.Popen", ("id",))
    assert [seen.split()[0] for seen in watch.seen] == [
        "socket.connect",
        "open",
        "subprocess.Popen",
    ]
