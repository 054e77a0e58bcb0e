"""Outputs that are listed after the end of a run: an audit finds them, and ``check --fix`` saves
them.
"""

from __future__ import annotations

from crucible_batch import check_ledger, check_outputs
from tests.integration.engine.test_late_outputs import SHEET, Gateway


async def late(bench, gateway: Gateway) -> None:
    """Run a job that lists its second output only after it was looked at again."""
    await bench.run(bench.manifest(SHEET), transport=gateway.transport())
    assert bench.outputs() == ["a/0.png"]


async def test_what_is_listed_after_the_run_is_found_by_an_audit_and_saved_by_verify(
    start, tampered
):
    gateway = Gateway(tampered, lambda look: [0] if look < 2 else [1, 0])
    async with start() as bench:
        await late(bench, gateway)
        run_dir, options = (
            bench.path / "out",
            {"settings": bench.settings, "transport": gateway.transport()},
        )
        found = await check_ledger(run_dir, clock=bench.clock.now, **options)
        assert (found.ok, found.exit_code, [more.missing for more in found.unsaved]) == (
            False,
            7,
            [1],
        )
        assert (
            await check_outputs(run_dir)
        ).exit_code == 0  # without --fix it needs no gateway, and asks none
        fixed = await check_outputs(
            run_dir, fix=True, **(options | {"transport": gateway.transport()})
        )
        assert [(each.path, each.state, each.fixed) for each in fixed.differences] == [
            ("a/1.png", "unsaved", True)
        ]
        assert (fixed.exit_code, fixed.checked) == (0, 2)
        again = await check_ledger(
            run_dir, clock=bench.clock.now, **(options | {"transport": gateway.transport()})
        )
        assert again.ok
        rerun = await bench.run(bench.path / "m.yaml", transport=gateway.transport())
        await bench.agree(rerun)
    assert (rerun.exit_code, bench.outputs()) == (0, ["a/0.png", "a/1.png"])


async def test_what_is_listed_late_and_can_not_be_had_is_said_and_left_to_the_next_run(
    start, tampered
):
    gateway = Gateway(tampered, lambda look: [0] if look < 2 else [0, 1])
    async with start() as bench:
        await late(bench, gateway)
        gateway.refused = "/crucible-outputs/"
        fixed = await check_outputs(
            bench.path / "out", fix=True, settings=bench.settings, transport=gateway.transport()
        )
        assert (fixed.exit_code, [each.fixed for each in fixed.differences]) == (7, [False])
        assert fixed.differences[0].error.code == "OUTPUT_UNAVAILABLE"
        gateway.refused = None
        result = await bench.run(bench.path / "m.yaml", transport=gateway.transport())
    assert (result.exit_code, bench.outputs()) == (0, ["a/0.png", "a/1.png"])
