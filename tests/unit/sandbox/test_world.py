"""The pure world: money, keys, assets, the queue."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.sandbox.assets import Arrival, Intent
from crucible_batch.sandbox.config import DEFAULT_KEY, SandboxConfig
from crucible_batch.sandbox.faults import Faults, parse_faults
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import Job, RefusedError
from crucible_batch.sandbox.world import World
from tests.harness.case_table import each_case
from tests.harness.sandbox_audit import audit, audit_world


def make_world(**changes: Any) -> World:
    config = SandboxConfig(**changes)
    return World(config, Faults(config.faults, config.seed), now=0)


def order(key: str | None = None, workflow_id: str = "zimage-base", **params: object) -> Order:
    return Order(
        workflow_id, {name.replace("__", "."): value for name, value in params.items()}, key
    )


def uploaded(world: World, account: str, now: float = 0) -> str:
    asset = world.create_asset(account, Intent("image/png", 10, None, {}), now)
    world.receive(asset.asset_id, Arrival("ab" * 32, 30, 20), now)
    return asset.asset_id


def refusal(call: Any, *args: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        call(*args)
    return f"{caught.value.status} {caught.value.code}"


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def account(world: World) -> str:
    return world.authenticate(DEFAULT_KEY)


def entry_types(world: World) -> list[str]:
    return [entry.entry_type for entry in world.entries]


def test_a_job_reserves_then_consumes_its_price(world: World, account: str) -> None:
    job, is_new = world.submit(account, order("k"), 0)
    assert (is_new, job.price) == (True, 2)
    totals, _ = world.credits(account, 0)
    assert (totals.balance, totals.reserved, totals.available) == (1000, 2, 998)
    totals, _ = world.credits(account, 10)
    assert (totals.balance, totals.reserved) == (998, 0)
    assert entry_types(world) == ["grant", "reserve", "consume"]
    assert world.entries[-1].created_at == job.finished_at


def test_a_failed_job_is_refunded() -> None:
    world = make_world(faults=parse_faults("fail=1"))
    account = world.authenticate(DEFAULT_KEY)
    job, _ = world.submit(account, order(), 0)
    assert job.status(10) == "failed"
    assert world.credits(account, 10)[0].available == 1000
    assert entry_types(world) == ["grant", "reserve", "refund"]


def test_a_refund_comes_late_in_part_or_never() -> None:
    """A job is refunded by the first of the three faults that strikes; what isn't refunded stays
    reserved."""
    world = make_world(
        faults=parse_faults("fail=4,refund-late=1,refund-partial=1,refund-missing=2"), runners=9
    )
    account = world.authenticate(DEFAULT_KEY)
    jobs = [world.submit(account, order(), 0)[0] for _ in range(5)]

    def refunds(now: float) -> list[list[Decimal]]:
        assert audit_world(world, now).problems == ()
        rows = [entry for entry in world.entries if entry.entry_type == "refund"]
        return [[row.amount for row in rows if row.job_id == job.job_id] for job in jobs]

    assert [job.status(20) for job in jobs] == ["failed"] * 4 + ["succeeded"]
    assert refunds(20) == [[], [1], [], [], []]
    assert refunds(59) == [[], [1], [], [], []]
    assert refunds(90) == [[2], [1], [], [], []]
    late = next(
        row for row in world.entries if row.job_id == jobs[0].job_id and row.entry_type == "refund"
    )
    assert late.created_at == jobs[0].finished_at + 60
    totals, _ = world.credits(account, 1e6)
    assert (totals.balance, totals.reserved) == (998, 5)


def test_the_delay_and_the_part_of_a_refund_can_be_set() -> None:
    faults = parse_faults("fail:1,refund-late=1,refund-partial:1")
    world = make_world(faults=faults, refund_late_s=600, partial_refund=Decimal("0.25"))
    account = world.authenticate(DEFAULT_KEY)
    late, partial = [world.submit(account, order(), 0)[0] for _ in range(2)]
    audit_world(world, 1000)
    found = {row.job_id: row for row in world.entries if row.entry_type == "refund"}
    assert found[late.job_id].created_at == late.finished_at + 600
    assert found[partial.job_id].amount == Decimal("0.5")


@pytest.mark.parametrize("kind", ["refund-late", "refund-partial", "refund-missing"])
def test_the_audit_notices_a_refund_that_is_not_as_is_due(kind: str) -> None:
    world = make_world(faults=parse_faults(f"fail:1,{kind}:1"))
    account = world.authenticate(DEFAULT_KEY)
    job, _ = world.submit(account, order(), 0)
    assert audit_world(world, 1000).problems == ()
    grant, reserve, *rest = world.entries
    whole = replace(reserve, entry_type="refund", reserved_after=Decimal(0))
    settled = replace(job, settled=True)
    wrong = [[], [whole, whole]] if kind == "refund-late" else [[whole], [*rest, *rest, whole]]
    for rows in wrong:
        assert audit([grant, reserve, *rows], [settled], []).problems


def test_a_repeated_key_is_found_before_anything_else_is_asked() -> None:
    world = make_world(accounts={"a": Decimal("3.5")})
    account = world.authenticate("a")
    asset_id = uploaded(world, account)
    edit = order("k", "qwen-edit", image__image=asset_id)
    job, _ = world.submit(account, edit, 1)
    world.delete_asset(account, asset_id, 2)  # no input any more, and too few credits
    assert world.submit(account, edit, 3)[0].job_id == job.job_id


def test_a_key_with_another_order_is_refused(world: World, account: str) -> None:
    world.submit(account, order("k", prompt__text="a"), 0)
    assert (
        refusal(world.submit, account, order("k", prompt__text="b"), 0)
        == "400 IDEMPOTENCY_KEY_REUSED"
    )
    assert refusal(
        world.submit, account, order("k", "zimage-sheet", prompt__text="a"), 0
    ).startswith("400")


def test_keys_of_two_accounts_do_not_meet() -> None:
    world = make_world(accounts={"a": Decimal(10), "b": Decimal(10)})
    a, b = world.authenticate("a"), world.authenticate("b")
    job_a, _ = world.submit(a, order("k"), 0)
    job_b, is_new = world.submit(b, order("k"), 0)
    assert is_new
    assert job_a.job_id != job_b.job_id
    assert refusal(world.job, b, job_a.job_id, 0) == "404 JOB_NOT_FOUND"
    asset_id = uploaded(world, a)
    assert refusal(world.assets.get, b, asset_id) == "404 ASSET_NOT_FOUND"
    assert (
        refusal(world.submit, b, order(None, "qwen-edit", image__image=asset_id), 1)
        == "400 INVALID_PARAMS"
    )


def test_reserved_credits_can_not_be_spent_again() -> None:
    world = make_world(accounts={"a": Decimal(3)})
    account = world.authenticate("a")
    world.submit(account, order(), 0)
    assert refusal(world.submit, account, order(), 0) == "402 INSUFFICIENT_CREDITS"
    uploaded(world, account)
    uploaded(world, account)
    assert refusal(uploaded, world, account) == "402 INSUFFICIENT_CREDITS"
    assert audit_world(world, 0).available == 0


def test_an_unknown_key_opens_nothing(world: World) -> None:
    for key in ("", "moltazine_other", "\udc80"):
        assert refusal(world.authenticate, key) == "401 UNAUTHORIZED"


@each_case(
    "workflow_id, params",
    [
        ("zimage-base", {"nonsense": 1}),
        ("zimage-base", {"prompt.text": 5}),
        ("zimage-base", {"prompt.text": "x" * 40_000}),
        ("zimage-base", {"size.batch_size": 2}),
        ("zimage-base", {"size.batch_size": True}),
        ("zimage-base", {"size.width": "512"}),
        ("zimage-base", {"size.width": 63}),
        ("zimage-base", {"size.height": 2049}),
        ("zimage-base", {"sampler.seed": Decimal("1.5")}),
        ("zimage-base", {"sampler.seed": None}),
        ("qwen-edit", {"prompt.text": "the other name"}),
        ("qwen-edit", {"strength.value": Decimal("1.01")}),
        ("qwen-edit", {"image.image": "no-uuid"}),
        ("qwen-edit", {"image.image": "7f0c3b7e-1111-4222-8333-444455556666"}),
        ("upscale-2x", {"scale.value": 5}),
    ],
)
def test_params_that_a_workflow_does_not_take_are_refused_with_a_hint(
    world: World, account: str, workflow_id: str, params: dict[str, object]
) -> None:
    with pytest.raises(RefusedError) as caught:
        world.submit(account, Order(workflow_id, params, None), 0)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMS")
    assert caught.value.hint
    assert entry_types(world) == ["grant"]


def test_an_unknown_workflow_is_not_found(world: World, account: str) -> None:
    assert refusal(world.submit, account, order(workflow_id="nope"), 0) == "404 WORKFLOW_NOT_FOUND"


def test_outputs_have_the_size_that_was_asked_for(world: World, account: str) -> None:
    def sizes(job: Job) -> list[tuple[int, int]]:
        return [(shape.width, shape.height) for shape in job.outputs]

    asset_id = uploaded(world, account)
    made = [
        order(None, "zimage-base"),
        order(None, "zimage-sheet", size__width=256, size__height=128),
        order(None, "qwen-edit", image__image=asset_id, width__value=100),
        order(None, "upscale-2x", image__image=asset_id),
        order(None, "upscale-2x", image__image=asset_id, scale__value=Decimal("1.5")),
    ]
    assert [sizes(world.submit(account, o, 1)[0]) for o in made] == [
        [(512, 512)],
        [(256, 128), (256, 128)],
        [(100, 20)],
        [(60, 40)],
        [(45, 30)],
    ]


def test_an_asset_is_pending_then_ready_then_gone(world: World, account: str) -> None:
    asset = world.create_asset(account, Intent("image/png", 10, "cat.png", {"a": 1}), 0)
    assert refusal(
        world.submit, account, order(None, "qwen-edit", image__image=asset.asset_id), 0
    ).startswith("400")
    asset = world.receive(asset.asset_id, Arrival("ab" * 32, 3, 2), 5)
    assert [asset.status(t) for t in (5, 5.1, 5.2)] == ["pending_upload", "pending_upload", "ready"]
    edit = order(None, "qwen-edit", image__image=asset.asset_id)
    assert refusal(world.submit, account, edit, 5.1) == "400 INVALID_PARAMS"
    assert world.delete_asset(account, asset.asset_id, 6) == Decimal("0.5")
    assert world.assets.listed(account) == []
    assert refusal(world.delete_asset, account, asset.asset_id, 7) == "404 ASSET_NOT_FOUND"
    assert (
        refusal(world.receive, asset.asset_id, Arrival("ab" * 32, 3, 2), 7) == "404 ASSET_NOT_FOUND"
    )
    assert entry_types(world) == ["grant", "upload", "rebate"]


def test_the_same_bytes_may_come_twice_but_no_others(world: World, account: str) -> None:
    asset_id = uploaded(world, account)
    world.receive(asset_id, Arrival("ab" * 32, 30, 20), 9)
    assert refusal(world.receive, asset_id, Arrival("cd" * 32, 30, 20), 9) == "409 UPLOAD_CONFLICT"


def test_bytes_that_come_too_late_are_refused(world: World, account: str) -> None:
    asset = world.create_asset(account, Intent("image/png", 10, None, {}), 0)
    assert (
        refusal(world.receive, asset.asset_id, Arrival("ab" * 32, 3, 2), 900) == "403 AccessDenied"
    )


@pytest.mark.parametrize(("mime_type", "byte_size"), [("text/plain", 5), ("image/png", 2**40)])
def test_an_upload_of_another_kind_or_too_large_is_refused(
    world: World, account: str, mime_type: str, byte_size: int
) -> None:
    assert refusal(
        world.create_asset, account, Intent(mime_type, byte_size, None, {}), 0
    ).startswith("400")
    assert entry_types(world) == ["grant"]


def test_jobs_wait_for_a_runner_in_the_order_in_which_they_came() -> None:
    world = make_world(runners=2)
    account = world.authenticate(DEFAULT_KEY)
    jobs = [world.submit(account, order(), 0)[0] for _ in range(5)]
    assert [job.status(0.001) for job in jobs] == [
        "running",
        "running",
        "queued",
        "queued",
        "queued",
    ]
    starts = [job.started_at for job in jobs]
    assert starts == sorted(starts)
    ends = sorted(job.finished_at for job in jobs[:2])
    assert starts[2:4] == ends
    assert {job.status(1e6) for job in jobs} == {"succeeded"}


def test_a_prompt_with_a_refused_word_fails_as_moderated() -> None:
    world = make_world()
    account = world.authenticate(DEFAULT_KEY)
    for text, code in (("an NSFW, thing", "MODERATION_REFUSED"), ("nsfwness", None)):
        assert world.submit(account, order(prompt__text=text), 0)[0].error_code == code


def test_the_same_seed_gives_the_same_world() -> None:
    def live(seed: int) -> tuple[object, ...]:
        world = make_world(seed=seed, faults=parse_faults("fail:0.5"))
        account = world.authenticate(DEFAULT_KEY)
        jobs = [world.submit(account, order(), n)[0] for n in range(20)]
        audit_world(world, 1000)
        return (*world.entries, *jobs)

    assert live(1) == live(1)
    assert live(1) != live(2)


@each_case(
    "settings",
    [
        {"accounts": {"a": Decimal("NaN")}},
        {"accounts": {"a": Decimal(-1)}},
        {"upload_price": Decimal("0.0000001")},
        {"prices": {"zimage-base": Decimal("1e30")}},
        {"prices": {"unknown": Decimal(1)}},
    ],
)
def test_a_config_that_can_not_be_is_a_value_error(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        SandboxConfig(**settings)


def test_a_config_does_not_show_its_keys() -> None:
    assert DEFAULT_KEY not in repr(SandboxConfig())


def test_the_audit_notices_cooked_books(world: World, account: str) -> None:
    job, _ = world.submit(account, order("k"), 0)
    asset_id = uploaded(world, account, 1)
    audit_world(world, 100)
    grant, reserve, upload, consume = world.entries
    job, asset = replace(job, settled=True), world.assets.find(asset_id)
    assert audit([grant, reserve, upload, consume], [job], [asset]).problems == ()
    doctored: list[tuple[list[Any], list[Any], list[Any]]] = [
        ([grant, reserve, upload, replace(consume, amount=Decimal(1))], [job], [asset]),
        ([grant, reserve, upload, consume, consume], [job], [asset]),
        ([grant, reserve, consume], [job], [asset]),
        ([reserve, upload, consume], [job], [asset]),
        ([grant, reserve, upload, consume], [], [asset]),
        ([grant, reserve, upload, consume], [job, job], [asset]),
        ([grant, reserve, upload, replace(consume, entry_type="refund")], [job], [asset]),
    ]
    for books in doctored:
        assert audit(*books).problems
