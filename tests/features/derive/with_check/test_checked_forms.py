"""What was derived is compared with what was made, and made again without the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crucible_batch.core.redaction import clean
from crucible_batch.features.check.verifying import check_outputs
from crucible_batch.outputs import FileState
from crucible_batch.settings import Settings
from tests.features.derive.test_derived_runs import FORMS, THREE, WEBP, derived, files
from tests.harness.commands import Cli

SHORT_JOBS = True
KEYLESS = Settings(api_key=None)


async def made(bench: Any, head: str = FORMS) -> tuple[Path, dict[str, bytes]]:
    await bench.run(bench.manifest(THREE, head=head))
    return bench.path / "out", files(bench.path / "out")


async def test_missing_and_damaged_ones_are_found_and_made_again(painting: Any) -> None:
    async with painting() as bench:
        out, before = await made(bench)
        found = await check_outputs(out)
        assert (found.exit_code, found.checked, found.made) == (0, 12, 9)
        (out / "a/0.webp").unlink()
        (out / "web/b-0.jpg").write_bytes(b"damaged")
        found = await check_outputs(out)
        assert found.exit_code == 7
        assert {each.path: each.state for each in found.differences} == {
            "a/0.webp": FileState.MISSING,
            "web/b-0.jpg": FileState.DAMAGED,
        }
        fixed = await check_outputs(out, fix=True, settings=KEYLESS)
        assert (fixed.exit_code, [each.fixed for each in fixed.differences]) == (0, [True, True])
        after = files(out)
        (kept,) = after.keys() - before.keys()
        assert kept.startswith("web/b-0.jpg.damaged-")
        assert after.pop(kept) == b"damaged"
        assert after == before
        assert (await check_outputs(out)).exit_code == 0


async def test_a_lost_output_is_fetched_before_its_forms_are_made(painting: Any) -> None:
    async with painting() as bench:
        out, before = await made(bench)
        for path in (out / "a").iterdir():
            path.unlink()
        fixed = await check_outputs(out, fix=True, settings=bench.settings)
        assert fixed.exit_code == 0
        assert files(out) == before


async def test_what_cannot_be_made_again_is_told_with_the_reason(painting: Any) -> None:
    async with painting() as bench:
        out, _ = await made(bench, WEBP)
        (out / "a/0.webp").unlink()
        (out / "a/0.png").write_bytes(b"changed")
        found = await check_outputs(out, fix=True, settings=bench.settings)
        assert found.exit_code == 0  # the output came back first
        (out / "a/0.webp").unlink()
        (out / "a/0.webp").symlink_to(out / "a/0.png")
        found = await check_outputs(out, fix=True, settings=bench.settings)
        (difference,) = found.differences
        assert (difference.state, difference.fixed) == (FileState.REPLACED, False)
        assert difference.error is not None
        assert difference.error.code == "OUTPUT_REPLACED"


async def test_other_bytes_of_another_release_are_in_the_report(
    painting: Any, monkeypatch: Any
) -> None:
    from crucible_batch.features.derive import encoder

    async with painting() as bench:
        out, before = await made(bench, WEBP)
        (out / "a/0.webp").unlink()
        written = encoder._written

        def other(image: Any, form: Any, *given: Any) -> Any:
            image.putpixel((0, 0), (1, 2, 3))
            return written(image, form, *given)

        monkeypatch.setattr(encoder, "_written", other)
        fixed = await check_outputs(out, fix=True, settings=KEYLESS)
        assert fixed.exit_code == 0
        assert files(out)["a/0.webp"] != before["a/0.webp"]
        assert (await check_outputs(out)).exit_code == 0
        assert derived(out)["a/0.webp"]["byte_size"] == len(files(out)["a/0.webp"])


def test_the_command_counts_them(cli: Cli, gateway: Any) -> None:
    (cli.cwd / "m.yaml").write_text(
        "version: 1\nname: m\nworkflow: zimage-base\nbudget: {credits: 9}\n"
        f"{WEBP}jobs: [{{name: a, prompt: x}}]\n"
    )
    assert (cli("run", "m.yaml", "--quiet")).code == 0
    shown = cli("check", "outputs/m/default", "--outputs")
    assert "2 of 2 files match their recorded SHA-256" in clean(shown.out, 1000)
    assert "1 made from outputs" in shown.out
