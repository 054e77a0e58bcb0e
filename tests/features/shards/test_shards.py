"""Shards of a saved plan: their rows are checked like a manifest's jobs, and their allowances are
set aside once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.events import Event, Failed, Found, HoldReleased
from crucible_batch.core.gateway_types import AssetSnapshot, AssetSpec, AssetStatus, ErrorInfo
from crucible_batch.core.identity import idempotency_key, job_identity
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import Certainty, PriceBook, Shape
from crucible_batch.core.saved_plan import (
    ImageFile,
    ManifestFile,
    PlanHead,
    PlannedState,
    PlanOptions,
    PlanRow,
    PlanTerms,
    PlanTotals,
    ShardRow,
)
from crucible_batch.core.sharding import (
    LearnedPrice,
    OutstandingShards,
    PlannedShard,
    ShardId,
    ShardOf,
)
from crucible_batch.errors import JournalError, RunDirectoryError, SavedPlanError, UserError
from crucible_batch.features.shards.divided_plan import (
    PlanToDivide,
    division_number,
    left_of,
    set_aside,
)
from crucible_batch.features.shards.followed_plan import choose_shard
from crucible_batch.features.shards.run import ShardRows, _begin, shard_terms
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.features.shards.shard_division import Division
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.runs.outstanding_shards import refuse_if_divided
from crucible_batch.runs.paths import shard_directory
from crucible_batch.runs.request import RunRequest, follow_plan
from crucible_batch.runs.shard_notes import note_shard, note_shards, noted_shard, noted_shards
from crucible_batch.saved_plan import SavedPlan, read_saved_plan, write_saved_plan
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.harness.replacing import replace
from tests.harness.run_terms import run_terms

BINDING = Binding("m", "default", "http://gateway")
TERMS = run_terms(20, 4)
HEAD = PlanHead(
    schema_version=1,
    manifest=ManifestFile("m", "m.yaml", "0" * 64),
    gateway="http://gateway",
    options=PlanOptions("default", "outputs/m/default", Decimal(20), False, (), {}),
    terms=PlanTerms(Decimal(20), Decimal(4), 3, ()),
    workflows=(),
    totals=PlanTotals(2, {"new": 2}, Decimal(4), Certainty.LEARNED, Decimal(0), Decimal(0)),
    shards=(PlannedShard(1, 1, 1, Decimal(5)), PlannedShard(2, 1, 1, Decimal(6))),
    learned=(LearnedPrice("workflow:w", "aa", Decimal(2)),),
)
OTHER = ShardId(2, 2)
IMAGE = ImageFile("a.png", "ee" * 32, "asset-1", 70, "image/png")


def row_of(
    name: str,
    shard: int,
    *,
    params: Mapping[str, object] | None = None,
    images: Mapping[str, ImageFile] | None = None,
) -> ShardRow:
    params, images = params or {"prompt.text": name}, images or {}
    digests = {param: image.sha256 for param, image in images.items()}
    identity = job_identity(
        manifest="m",
        run_id="default",
        workflow_id="w",
        params=params,  # type: ignore[arg-type]
        images=digests,
        repeat=1,
    )
    return ShardRow(
        name=name,
        identity=identity,
        workflow_id="w",
        state=PlannedState.NEW,
        credits=Decimal(2),
        params=params,
        images=images,
        repeat=1,
        shard=shard,
        position=shard,
        output=f"{name}/{{index}}{{ext}}",
        prompt=name,
        axes={"style": "ink"},
        row={"title": "é"},
    )


ROWS = (row_of("fox", 1), row_of("owl", 2))


def saved(folder: Path, *rows: PlanRow, head: PlanHead = HEAD) -> SavedPlan:
    write_saved_plan(folder / "plan.json", head, rows or ROWS)
    return read_saved_plan(folder / "plan.json")


def jobs_of(plan: SavedPlan, folder: Path, shard: ShardId = OTHER) -> list[PlannedJob]:
    return list(ShardRows(plan, shard, folder).jobs())


def test_the_jobs_of_a_shard_are_those_of_its_rows(tmp_path: Path) -> None:
    owl = row_of("owl", 2, images={"image": IMAGE})
    rows = ShardRows(saved(tmp_path, ROWS[0], owl), OTHER, tmp_path)
    assert list(rows.jobs()) == [
        PlannedJob(
            position=2,
            identity=owl.identity,
            name="owl",
            workflow_id="w",
            params={"prompt.text": "owl"},
            images={
                "image": InputImage(
                    AssetSpec("ee" * 32, 70, "image/png", "a.png"), tmp_path / "a.png"
                )
            },
            prompt="owl",
            axes={"style": "ink"},
            output="owl/{index}{ext}",
            row={"title": "é"},
        )
    ]
    assert rows.ready == {"ee" * 32: "asset-1"}


def test_a_divided_plan_is_read_as_any_plan_and_a_parameter_named_shard_is_not_a_shard(
    tmp_path: Path,
) -> None:
    done = PlanRow("old", "11" * 32, "w", PlannedState.DONE, Decimal(0), {"x": {"shard": 2}}, {}, 1)
    plan = saved(tmp_path, done, row_of("fox", 1, params={"shard": 2}), ROWS[1])
    assert [row.name for row in plan.rows()] == ["old", "fox", "owl"]
    assert [row.name for row in plan.shard_rows(2)] == ["owl"]


@each_case(
    "change, words",
    [
        ({"identity": "11" * 32}, "has another identity than its content"),
        ({"params": {"prompt.text": "wolf"}}, "has another identity"),
        ({"output": "../{index}{ext}"}, "outside of the run directory"),
        ({"output": "/tmp/x{ext}"}, "outside of the run directory"),
        ({"output": ".crucible/x{ext}"}, "outside of the run directory"),
        ({"output": "report.json"}, "one of its own files"),
    ],
)
def test_a_row_that_no_manifest_could_make_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    plan = saved(tmp_path, ROWS[0], replace(ROWS[1], **change))  # type: ignore[arg-type]
    with pytest.raises(SavedPlanError) as raised:
        jobs_of(plan, tmp_path)
    assert words in str(raised.value)
    assert "'owl'" in str(raised.value)


def test_rows_out_of_order_or_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SavedPlanError, match="its head states another number"):
        jobs_of(saved(tmp_path, ROWS[0]), tmp_path)
    two = replace(HEAD, shards=(PlannedShard(1, 2, 1, Decimal(5)),))
    plan = saved(tmp_path, ROWS[0], replace(row_of("elk", 1), position=0), head=two)
    with pytest.raises(SavedPlanError, match="not in the order"):
        jobs_of(plan, tmp_path, ShardId(1, 1))


def test_an_image_outside_of_the_manifests_folder_needs_the_plans_permission(
    tmp_path: Path,
) -> None:
    inside = tmp_path / "manifests"
    inside.mkdir()
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    for path in ("../secret.png", "link.png"):
        row = row_of("owl", 2, images={"image": replace(IMAGE, path=path)})
        with pytest.raises(SavedPlanError, match="outside of the manifest's directory"):
            jobs_of(saved(tmp_path, ROWS[0], row), inside)
        allowed = replace(HEAD, options=replace(HEAD.options, allow_outside=True))
        assert len(jobs_of(saved(tmp_path, ROWS[0], row, head=allowed), inside)) == 1


def test_the_budget_of_a_shard_is_its_allowance(tmp_path: Path) -> None:
    plan = saved(tmp_path)
    terms = shard_terms(TERMS, plan, OTHER)
    assert (terms.budget, terms.shard, terms.learned) == (Decimal(6), OTHER, HEAD.learned)
    assert PriceBook.of(terms).expected(Shape("workflow:w", "aa")) == 2


def test_the_journal_of_a_shard_begins_with_the_images_that_are_at_the_gateway(
    tmp_path: Path,
) -> None:
    """Otherwise it would look for them, and upload what it doesn't find."""
    plan = saved(tmp_path, ROWS[0], row_of("owl", 2, images={"image": IMAGE}))
    rows = ShardRows(plan, OTHER, tmp_path)
    assert len(list(rows.jobs())) == 1
    with Journal.open(tmp_path / "run", BINDING, now=1.0) as journal:
        for now in (5.0, 6.0):
            _begin(journal, plan, OTHER, rows, now)
        assert list(journal.events()) == [
            (ASSET_PREFIX + "ee" * 32, Found(at=5.0, asset_id="asset-1"))
        ]
        assert noted_shard(journal) == ShardOf(plan.digest, OTHER)


def test_a_shard_is_run_in_a_directory_of_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = saved(tmp_path)
    with Journal.open(tmp_path / "outputs/m/default", BINDING, now=0.0):  # of an earlier release
        pass
    followed = follow_plan(RunRequest(Path("plan.json")), {"JOB_COMPLETION_INDEX": "1"})
    assert followed.of(ShardChoice).shard == str(OTHER)
    assert followed.out_dir == Path(f"outputs/m/default/shards/{plan.digest[:8]}/2-of-2")
    assert followed.out_dir == shard_directory(plan, OTHER)
    assert followed.remake == "crucible-batch plan m.yaml --budget 20 --shards 2 -o plan.json"
    assert follow_plan(RunRequest(Path("plan.json"))).out_dir == Path("outputs/m/default")


def test_a_shard_is_chosen_for_a_divided_plan_only(tmp_path: Path) -> None:
    plan = saved(tmp_path)
    assert choose_shard(None, None, {"SLURM_ARRAY_TASK_ID": "1"}) is None
    assert choose_shard(ShardId(1, 2), plan, {"CRUCIBLE_BATCH_SHARD": "2/2"}) == ShardId(1, 2)
    for given, of, environ in (
        (None, plan, {}),
        (ShardId(1, 3), plan, {}),
        (OTHER, None, {}),
        (None, None, {"CRUCIBLE_BATCH_SHARD": "1/2"}),
        (None, plan, {"SLURM_ARRAY_TASK_ID": "0"}),
    ):
        with pytest.raises(UserError):
            choose_shard(given, of, environ)


# -- the main run directory


def division(*allowances: int) -> Division:
    shards = tuple(
        PlannedShard(number, 1, 1, Decimal(each)) for number, each in enumerate(allowances, 1)
    )
    return Division(shards, [], [], ())


def test_allowances_are_set_aside_once_and_not_for_two_plans(tmp_path: Path) -> None:
    with Journal.open(tmp_path, BINDING, now=0.0) as journal:
        assert noted_shards(journal) is None
        set_aside(journal, division(5, 6), "a" * 64, None)
        set_aside(journal, division(5, 6), "a" * 64, None)
        assert noted_shards(journal) == OutstandingShards("a" * 64, {1: Decimal(5), 2: Decimal(6)})
        with pytest.raises(
            UserError, match=r"not merged yet: 1, 2 of 2, with 11 credits set aside"
        ):
            set_aside(journal, division(1), "b" * 64, None)
        with pytest.raises(UserError, match="not merged yet"):
            refuse_if_divided(tmp_path)
        note_shards(
            journal, OutstandingShards("a" * 64, {1: Decimal(5), 2: Decimal(6)}, frozenset({1}))
        )
        with pytest.raises(UserError, match="not merged yet: 2 of 2, with 6 credits"):
            refuse_if_divided(tmp_path)
        note_shards(
            journal, OutstandingShards("a" * 64, {1: Decimal(5), 2: Decimal(6)}, frozenset({1, 2}))
        )
        refuse_if_divided(tmp_path)
        set_aside(journal, division(1), "b" * 64, None)
        second = OutstandingShards("b" * 64, {1: Decimal(1)}, earlier=("a" * 64,))
        assert noted_shards(journal) == second
        assert second.division == 2


def test_a_plan_whose_shards_are_over_sets_its_allowances_aside_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path, BINDING, now=0.0) as journal:
        assert division_number(journal) == 1
        set_aside(journal, division(5), "a" * 64, Decimal(5))
        assert division_number(journal) == 1
        note_shards(journal, OutstandingShards("a" * 64, {1: Decimal(5)}, frozenset({1})))
        assert division_number(journal) == 2
        set_aside(journal, division(5), "a" * 64, Decimal(5))
        with pytest.raises(UserError, match="not merged yet: 1 of 1, with 5 credits"):
            refuse_if_divided(tmp_path)


def test_a_plan_has_its_name_only_once_its_allowances_are_set_aside(tmp_path: Path) -> None:
    target, seen = tmp_path / "plan.json", []

    def before(digest: str) -> None:
        seen.append((digest, target.exists()))

    digest = write_saved_plan(target, HEAD, ROWS, before=before)
    assert seen == [(digest, False)]
    older = target.read_bytes()

    def refuse(_digest: str) -> None:
        raise UserError("shards are outstanding", hint="merge them")

    with pytest.raises(UserError):
        write_saved_plan(target, HEAD, ROWS[:1], before=refuse)
    assert target.read_bytes() == older
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_the_directory_of_a_shard_is_not_run_as_that_of_a_manifest(tmp_path: Path) -> None:
    refuse_if_divided(tmp_path)
    with Journal.open(tmp_path, BINDING, now=0.0) as journal:
        refuse_if_divided(tmp_path)
        note_shard(journal, ShardOf("a" * 64, OTHER))
        assert noted_shard(journal) == ShardOf("a" * 64, OTHER)
        with pytest.raises(RunDirectoryError, match="the directory of shard 2/2"):
            refuse_if_divided(tmp_path)
        journal.note("shard", "{")
        with pytest.raises(JournalError):
            refuse_if_divided(tmp_path)


KEY = idempotency_key(ROWS[0].identity, 1)
HELD = held_event(4, key=KEY, shape="aa")
ACCEPTED = accepted_event(2, at=2.0)
ERROR = ErrorInfo("GPU_LOST", "the machine was lost")


def test_what_is_spent_and_held_is_not_divided() -> None:
    ledger = Ledger(PriceBook(Decimal(4)))
    assert left_of(ledger, Decimal(20)) == 20
    ledger.apply(ROWS[0].identity, HELD)
    assert left_of(ledger, Decimal(20)) == 16
    ledger.apply(ROWS[0].identity, ACCEPTED)
    assert left_of(ledger, Decimal(20)) == 18


@each_case(
    "story, words",
    [
        ([HELD], "in flight"),
        ([HELD, ACCEPTED], "in flight"),
        (
            [HELD, ACCEPTED, Failed(at=3.0, error=ERROR)],
            "with another attempt to make",
        ),
    ],
)
def test_a_job_with_a_purchase_is_not_divided(
    tmp_path: Path, story: list[Event], words: str
) -> None:
    fox = ROWS[0]
    job = PlannedJob(0, fox.identity, fox.name, "w", fox.params)
    with PlanFile.temporary() as draft, Journal.open(tmp_path, BINDING, now=0.0) as journal:
        draft.fill([job])
        journal.adopt(draft)
        everything = RunRequest(Path("m.yaml")).job_filter
        assert [
            is_new for _, _, is_new in PlanToDivide(draft, journal, TERMS, everything).jobs()
        ] == [True]
        journal.restore([(job.identity, story)])
        with pytest.raises(UserError, match="is not finished") as raised:
            list(PlanToDivide(draft, journal, TERMS, everything).jobs())
        assert words in str(raised.value)
        assert (
            raised.value.hint == "let a run finish it first: crucible-batch run m.yaml --budget 20"
        )


@each_case(
    "change, is_there",
    [
        ({}, True),
        ({"status": AssetStatus.PENDING}, False),
        ({"byte_size": 71}, False),
        ({"sha256": "ff" * 32}, False),
        ({"sha256": None}, False),
    ],
)
async def test_an_image_is_there_for_shards_only_if_it_is_ready_with_the_same_bytes(
    tmp_path: Path, change: dict[str, object], is_there: bool
) -> None:
    there = AssetSnapshot("asset-1", AssetStatus.READY, 70, IMAGE.sha256)
    found = replace(there, **change)  # type: ignore[arg-type]

    async def assets() -> list[AssetSnapshot]:
        return [found]

    image = InputImage(AssetSpec(IMAGE.sha256, 70, "image/png", "a.png"), Path("a.png"))
    job = PlannedJob(0, ROWS[0].identity, "fox", "w", {}, images={"image": image})
    with PlanFile.temporary() as draft:
        draft.fill([job])
        plan = PlanToDivide(draft, None, TERMS, RunRequest(Path("m")).job_filter)
        gateway: Any = SimpleNamespace(assets=assets)
        assert await plan._ready_images(gateway) == ({IMAGE.sha256: "asset-1"} if is_there else {})
        with Journal.open(tmp_path, BINDING, now=0.0) as journal:
            intent = intended_event(1, job.identity)
            journal.restore([(ASSET_PREFIX + IMAGE.sha256, [intent])])
            with pytest.raises(UserError, match=r"the upload of a\.png is in doubt"):
                await replace(plan, journal=journal)._ready_images(gateway)


def test_a_job_whose_hold_was_released_is_new(tmp_path: Path) -> None:
    fox = ROWS[0]
    job = PlannedJob(0, fox.identity, fox.name, "w", fox.params)
    with PlanFile.temporary() as draft, Journal.open(tmp_path, BINDING, now=0.0) as journal:
        draft.fill([job])
        journal.adopt(draft)
        journal.restore([(job.identity, [HELD, HoldReleased(at=2.0, error=ERROR)])])
        jobs = PlanToDivide(draft, journal, TERMS, RunRequest(Path("m")).job_filter).jobs()
        assert [is_new for _, _, is_new in jobs]
