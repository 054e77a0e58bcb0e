"""Shards that are out are continued only by what they were divided from."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.core.saved_plan import PlanTerms
from crucible_batch.engine import SystemClock
from crucible_batch.errors import UserError
from crucible_batch.features.machines.coordinator import _Caller, _Coordinator
from crucible_batch.features.machines.engines import WaitingEngine
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.draft import read_source
from crucible_batch.runs.request import RunRequest
from crucible_batch.saved_plan import read_saved_plan
from crucible_batch.settings import Settings

MANIFEST = """\
version: 1
name: campaign
workflow: zimage-base
vars: {a: x}
budget: {credits: 100, max_credits_per_job: 2}
jobs: [{name: fox, prompt: a fox}]
"""
SETTINGS = Settings("key", base_url="https://gateway.example")


class Fixed(FeatureOptions):
    """Options of a feature that a saved plan fixes."""

    @property
    def fixed(self) -> Mapping[str, int]:
        return {"sample": 3}


def coordinator(folder: Path, **changes: Any) -> Any:
    path = folder / "campaign.yaml"
    path.write_text(changes.pop("text", MANIFEST))
    request = RunRequest(path, out_dir=folder / "out", **changes)
    caller = _Caller(changes.pop("settings", SETTINGS), None, None, handle_signals=False)
    manifest = read_source(request)
    return _Coordinator(request, manifest, WaitingEngine(1), Deadline(None), caller)


def divided(folder: Path) -> Any:
    """The plan of the shards that are out."""
    made = coordinator(folder)
    manifest, terms = made._manifest, made._terms
    return SimpleNamespace(
        head=SimpleNamespace(
            gateway=SETTINGS.gateway,
            manifest=SimpleNamespace(
                sha256=manifest.sha256, path="campaign.yaml", name=manifest.name
            ),
            terms=PlanTerms(terms.budget, terms.ceiling, terms.attempts, (), terms.upload_ceiling),
            options=SimpleNamespace(
                run_id=terms.run_id, only=(), retry_failed=False, variables={}, of_features={}
            ),
        )
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"text": f"{MANIFEST}# edited\n"}, "content changed", id="manifest"),
        pytest.param(
            {"text": MANIFEST.replace("job: 2", "job: 1")}, "max_credits_per_job", id="ceiling"
        ),
        pytest.param({"run_id": "other"}, "--run-id differs", id="run id"),
        pytest.param({"only": ("fox",)}, "--only differs", id="only"),
        pytest.param({"retry_failed": True}, "--retry-failed differs", id="retry"),
        pytest.param({"variables": {"a": "b"}}, "--var differs", id="variables"),
        pytest.param({"features": (Fixed(),)}, "--first or --sample differs", id="sample"),
    ],
)
def test_what_would_buy_other_jobs_than_are_asked_for_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    plan = divided(tmp_path)
    with pytest.raises(UserError, match=words) as refused:
        coordinator(tmp_path, **changes)._refuse_changes(plan)
    assert "--drain" in str(refused.value.hint)


@pytest.mark.parametrize("changes", [{}, {"budget": Decimal(200)}, {"concurrency": 3}])
def test_the_same_command_and_one_with_a_higher_budget_continue(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    plan = divided(tmp_path)
    coordinator(tmp_path, **changes)._refuse_changes(plan)


TABLE = '{name: "{{ row.k }}", foreach: t.csv, prompt: "{{ row.p }}"}'


@pytest.mark.parametrize(
    ("table", "words"),
    [
        pytest.param("k,p\na,one\nb,two\n", None, id="the same"),
        pytest.param("k,p\na,one\nb,new\n", "b: prompt.text: 'two' → 'new'", id="another prompt"),
        pytest.param("k,p\na,one\n", "b: no longer in the manifest", id="a row less"),
        pytest.param("k,p\na,one\nb,two\nc,three\n", "c: not in the plan", id="a row more"),
    ],
)
async def test_a_table_that_makes_other_jobs_than_the_shards_have_is_refused(
    start: Any, table: str, words: str | None
) -> None:
    async with start() as bench:
        (bench.path / "t.csv").write_text("k,p\na,one\nb,two\n")
        path, out = bench.manifest(TABLE), bench.path / "out"
        file = bench.path / "plan.json"
        await api.plan(path, save_to=file, settings=bench.settings, out_dir=out)
        (bench.path / "t.csv").write_text(table)
        request = RunRequest(path, out_dir=out)
        caller = _Caller(bench.settings, None, None, handle_signals=False)
        made = _Coordinator(request, read_source(request), WaitingEngine(1), Deadline(None), caller)
        refusal: str | None = None
        try:
            await made._refuse_other_jobs(read_saved_plan(file))
        except UserError as error:
            refusal = error.message
        assert (refusal is None) == (words is None)
        assert (words or "") in (refusal or "")


async def test_a_pause_that_outlasts_the_coordinator_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = coordinator(tmp_path)
    plan = SimpleNamespace(digest="d")
    commands = StoredCommands(made._objects, "d", SystemClock())
    by = ControlSource("mia@studio", "terminal")
    await made._warn_of_pause(plan)
    assert caplog.text == ""
    await commands.add(ControlCommand(ControlAction.PAUSE), by)
    await made._warn_of_pause(plan)
    assert "mia@studio has paused this run: its shards buy nothing until" in caplog.text
    assert f"crucible-batch ctl {made._place} resume" in caplog.text
    caplog.clear()
    await commands.add(ControlCommand(ControlAction.RESUME), by)
    await made._warn_of_pause(plan)
    assert caplog.text == ""
