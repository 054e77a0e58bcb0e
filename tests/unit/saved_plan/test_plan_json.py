"""A saved plan's file: written whole, read back equal, and refused in words whatever was done to
it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from crucible_batch import saved_plan
from crucible_batch.atomic_files import temporary_path
from crucible_batch.core.prices import Certainty
from crucible_batch.core.saved_plan import (
    ImageFile,
    ManifestFile,
    PlanHead,
    PlannedState,
    PlanOptions,
    PlanRow,
    PlanTerms,
    PlanTotals,
)
from crucible_batch.errors import SavedPlanError, UserError
from crucible_batch.saved_plan import (
    is_saved_plan,
    plan_command,
    plan_schema,
    read_saved_plan,
    write_saved_plan,
)

HEAD = PlanHead(
    schema_version=1,
    manifest=ManifestFile("spring", "spring.yaml", "ab" * 32),
    gateway="https://crucible.moltazine.com",
    options=PlanOptions(
        "default",
        "outputs/spring/default",
        Decimal("2.50"),
        False,
        ("hero-*",),
        {"b": "x"},
        max_jobs=9,
    ),
    terms=PlanTerms(Decimal("2.50"), None, 3, ("GPU_LOST",)),
    workflows=("mute", "zimage-base"),
    totals=PlanTotals(2, {"new": 2}, Decimal("0.20"), Certainty.LEARNED, Decimal(0), Decimal(0)),
    division=7,
)
PARAMS = {
    "prompt.text": 'a "fox"\n  "digest": "00"',
    "seed": 2**64,
    "deep": {"x": [1, 1.5, None, True, "é\u2028"]},
}
ROWS = [
    PlanRow("hero-1", "11" * 32, "zimage-base", PlannedState.NEW, None, PARAMS, {}, 1),
    PlanRow(
        "hero-2",
        "22" * 32,
        "mute",
        PlannedState.DONE,
        Decimal(0),
        {},
        {"image": ImageFile("a.png", "ee")},
        2,
    ),
]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    write_saved_plan(path, HEAD, ROWS)
    return path


def test_a_plan_comes_back_equal(plan: Path) -> None:
    saved = read_saved_plan(plan)
    assert saved.head == HEAD
    assert list(saved.rows()) == ROWS
    assert str(saved.head.terms.budget) == "2.50"


def test_a_plan_without_jobs_comes_back_too(tmp_path: Path) -> None:
    write_saved_plan(tmp_path / "none.json", HEAD, [])
    json.loads((tmp_path / "none.json").read_text(encoding="utf-8"))
    assert list(read_saved_plan(tmp_path / "none.json").rows()) == []


def test_it_is_one_json_document_with_a_job_a_line(plan: Path) -> None:
    text = plan.read_text(encoding="utf-8")
    document = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(plan_schema())
    jsonschema.Draft202012Validator(plan_schema()).validate(document)
    lines = [line.strip().removesuffix(",") for line in text.split("\n")]
    assert all(
        json.dumps(job, ensure_ascii=False, separators=(",", ":")) in lines
        for job in document["jobs"]
    )


def test_its_digest_is_that_of_the_lines_above_by_any_other_program(plan: Path) -> None:
    counted = subprocess.run(
        f"head -n -2 '{plan}' | sha256sum", shell=True, check=True, capture_output=True, text=True
    ).stdout.split()[0]
    assert (
        read_saved_plan(plan).digest
        == counted
        == json.loads(plan.read_text(encoding="utf-8"))["digest"]
    )


def test_the_same_plan_makes_the_same_file(plan: Path) -> None:
    first = plan.read_bytes()
    write_saved_plan(plan, HEAD, ROWS)
    assert plan.read_bytes() == first


def test_what_was_there_is_replaced_whole_or_not_at_all(plan: Path) -> None:
    first = plan.read_bytes()

    def broken() -> Iterator[PlanRow]:
        yield ROWS[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_saved_plan(plan, HEAD, broken())
    assert plan.read_bytes() == first
    write_saved_plan(plan, replace(HEAD, division=8), ROWS)
    assert read_saved_plan(plan).head.division == 8
    assert [path.name for path in plan.parent.iterdir()] == ["plan.json"]


def test_a_link_is_not_followed_and_what_is_no_file_is_refused(plan: Path) -> None:
    link = plan.with_name("link.json")
    link.symlink_to(plan.name)
    first = plan.read_bytes()
    for force in (False, True):
        with pytest.raises(UserError, match="is a symbolic link"):
            write_saved_plan(link, replace(HEAD, division=9), ROWS, force=force)
    assert link.is_symlink()
    assert plan.read_bytes() == first
    for target in (plan.parent, Path("/dev/null")):
        with pytest.raises(UserError, match="not a regular file"):
            write_saved_plan(target, HEAD, ROWS)
    with pytest.raises(UserError, match="No such file"):
        write_saved_plan(plan.parent / "nowhere" / "plan.json", HEAD, ROWS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"sku,colour\na,red\n",
        b'{\n  "schema_version": 1,\n  "run_id": "default",\n',
        b'{"schema_version": 1}',
        b"{",
    ],
)
def test_only_a_plan_is_replaced_by_a_plan(plan: Path, content: bytes) -> None:
    other = plan.with_name("other")
    other.write_bytes(content)
    with pytest.raises(UserError, match="was not overwritten") as caught:
        write_saved_plan(other, HEAD, ROWS)
    assert (caught.value.exit_code, other.read_bytes()) == (2, content)
    write_saved_plan(other, HEAD, ROWS, force=True)
    assert other.read_bytes() == plan.read_bytes()


def test_a_plan_that_was_cut_short_or_edited_is_replaced(plan: Path) -> None:
    whole = plan.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole.replace(b'"digest": "', b'"digest": "0'),
        whole + b"more",
    ):
        plan.write_bytes(content)
        write_saved_plan(plan, HEAD, ROWS)
        assert plan.read_bytes() == whole


def test_what_stands_at_the_temporary_name_is_not_written_through(plan: Path) -> None:
    precious = plan.with_name("precious")
    precious.write_text("mine")
    temporary_path(plan).symlink_to(precious)
    write_saved_plan(plan, replace(HEAD, division=9), ROWS)
    assert precious.read_text() == "mine"
    assert not plan.is_symlink()


def test_line_ends_of_another_system_change_nothing(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes().replace(b"\n", b"\r\n"))
    assert list(read_saved_plan(plan).rows()) == ROWS


def _sealed(text: bytes) -> bytes:
    """Put a right digest under a text, as somebody would who forges a plan."""
    above = text[: text.rindex(b'  "digest"')]
    return above + f'  "digest": "{hashlib.sha256(above).hexdigest()}"\n}}\n'.encode()


def _deep(text: bytes) -> bytes:
    return _sealed(
        text.replace(b'"deep":{', b'"deep":' + b"[" * 100_000 + b"]" * 100_000 + b',"more":{')
    )


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda text: text.replace(b"hero-2", b"hero-3"), "edited"),
        (lambda text: text.replace(b'"budget": "2.50"', b'"budget": "99"'), "edited"),
        (lambda text: text.replace(b'"digest": "', b'"digest": "0', 1), "edited|truncated"),
        (lambda text: text[: len(text) // 2], "truncated"),
        (lambda text: text[:-2], "there is text after"),
        (lambda text: text + b"{}\n", "there is text after"),
        (
            lambda text: _sealed(text.replace(b'"schema_version": 1', b'"schema_version": 2')),
            "version 2",
        ),
        (lambda text: json.dumps(json.loads(text)).encode(), "formatting was changed"),
        (lambda text: json.dumps(json.loads(text), indent=4).encode(), "formatting was changed"),
        (lambda text: b"\xef\xbb\xbf" + text, "edited"),
        (lambda text: _sealed(text.replace(b'"state":"new"', b'"state":"old"')), "state"),
        (lambda text: _sealed(text.replace(b'"repeat":2', b'"repeat":"two"')), "repeat"),
        (lambda text: _sealed(text.replace(b'"gateway": ', b'"gate": ')), "gateway"),
        (lambda text: _sealed(text.replace(b'"budget": "2.50"', b'"budget": "lots"')), "budget"),
        (lambda text: _sealed(text.replace(b'"hero-1"', b'"hero-\xff"')), "JSON"),
        (_deep, "JSON"),
        (
            lambda text: _sealed(re.sub(rb'"max_jobs": \d+', b'"max_jobs": 1', text)),
            "more jobs than its own limit of 1",
        ),
    ],
)
def test_a_spoiled_plan_is_refused_in_words(plan: Path, spoil: object, word: str) -> None:
    spoiled = spoil(plan.read_bytes())  # type: ignore[operator]
    assert spoiled != plan.read_bytes()
    plan.write_bytes(spoiled)
    assert is_saved_plan(plan)
    with pytest.raises(SavedPlanError, match=word) as caught:
        list(read_saved_plan(plan).rows())
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_giant_line_is_given_up_and_never_written(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucible_batch import saved_plan

    text = plan.read_bytes()
    monkeypatch.setattr(saved_plan, "MAX_LINE_BYTES", 300)
    plan.write_bytes(text.replace(b"hero-2", b"hero-2" * 100))
    with pytest.raises(SavedPlanError, match="a line of more than 300 bytes"):
        read_saved_plan(plan)
    with pytest.raises(UserError, match="too large"):
        write_saved_plan(plan, HEAD, [replace(ROWS[0], name="n" * 300)])
    monkeypatch.setattr(saved_plan, "MAX_HEAD_BYTES", 300)
    write_saved_plan(plan, HEAD, [])
    with pytest.raises(SavedPlanError, match="the part before its jobs is too large"):
        read_saved_plan(plan)


def test_a_plan_that_changes_while_it_is_read_is_refused_at_the_end(plan: Path) -> None:
    saved = read_saved_plan(plan)
    write_saved_plan(plan, HEAD, [*ROWS, replace(ROWS[0], name="late", identity="33" * 32)])
    with pytest.raises(SavedPlanError, match="changed while"):
        list(saved.rows())


def test_a_plan_is_told_from_a_manifest_by_its_content(plan: Path, tmp_path: Path) -> None:
    renamed = plan.rename(tmp_path / "plan.yaml")
    assert is_saved_plan(renamed)
    for text in ("version: 1\nname: x\n", '{"version": 1, "name": "schema_version"}', "", "\0\0"):
        (tmp_path / "plan.json").write_text(text, encoding="utf-8")
        assert not is_saved_plan(tmp_path / "plan.json")
    assert not is_saved_plan(tmp_path)
    assert not is_saved_plan(tmp_path / "nowhere")


def test_no_limit_of_the_format_is_narrower_than_a_manifest() -> None:
    from crucible_batch.core.run_options import DEFAULT_MAX_MANIFEST_BYTES
    from crucible_batch.manifest import MAX_BYTES

    assert saved_plan.MAX_LINE_BYTES >= 2 * MAX_BYTES
    assert DEFAULT_MAX_MANIFEST_BYTES == MAX_BYTES


def test_the_command_that_makes_it_again_says_all_options() -> None:
    options = replace(HEAD.options, run_id="night", retry_failed=True, allow_outside=True)
    line = plan_command(
        replace(HEAD, options=options),
        Path("p.json"),
        manifest=Path("my spring.yaml"),
        run_dir=Path("here"),
    )
    assert line == (
        "crucible-batch plan 'my spring.yaml' --budget 2.5 --run-id night --out-dir here "
        "--only 'hero-*' --var b=x --retry-failed --allow-outside --max-jobs 9 -o p.json"
    )
