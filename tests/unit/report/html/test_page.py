"""The page: one file that holds all it shows, from which nothing hostile escapes, written piece by
piece.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crucible_batch import features
from crucible_batch.core.retry_rule import PAID_CODES
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.html import PAGE_FILE, Advice, Frame, Thumbnails, page_pieces, write_page
from crucible_batch.report.html.page import report_assets, report_scripts
from crucible_batch.report.models import (
    AttemptRow,
    CountsRow,
    CreditsRow,
    ErrorRow,
    ManifestRow,
    OutputRow,
    SourceRow,
    WaitingRow,
)
from tests.harness.case_table import each_case

ZERO = Decimal(0)
HOSTILE = (
    "</script><img src=x onerror=alert(1)> <!--<script> & \u2028 \u2029 \u202eexe.png ]]> "
    "' \" \x00\x1b[31m {{ 7*7 }}"
)


def head(jobs: int = 1, **more: Any) -> ReportHead:
    books = CreditsRow(
        budget=Decimal(80),
        spent=Decimal(4),
        held=ZERO,
        jobs=Decimal(4),
        uploads=ZERO,
        rebates=ZERO,
        refunded=ZERO,
        over_budget=ZERO,
    )
    known: dict[str, Any] = {
        "run_id": "default", "status": "partial", "exit_code": 1,
        "started_at": "2026-01-01T00:00:00.000Z", "finished_at": "2026-01-01T00:01:00.000Z",
        "credits": books, "counts": CountsRow(total=jobs, succeeded=jobs),
        "manifest": ManifestRow(name="autumn", path="m.yaml", sha256="ab" * 32),
    }  # fmt: skip
    return ReportHead(**{**known, **more})


def row(number: int = 0, **more: Any) -> JobRow:
    attempt = AttemptRow(
        idempotency_key="cb1-x", job_id="j", status="succeeded", credits=Decimal(2),
        held_at=10.0 + number, prepared_at=11.0 + number, accepted_at=12.0 + number,
        running_at=13.0 + number, ended_at=14.0 + number,
    )  # fmt: skip
    output = OutputRow(
        index=0, path=f"job-{number}/0.png", sha256=f"{number:064x}"[::-1], byte_size=9,
        mime_type="image/png", width=40, height=30, saved_at=15.0 + number,
    )  # fmt: skip
    known: dict[str, Any] = {
        "name": f"job-{number}", "status": "succeeded", "workflow_id": "z", "prompt": "a fox",
        "params": {"prompt.text": "a fox", "seed": 2**60}, "idempotency_key": "cb1-x",
        "attempts": [attempt], "credits": Decimal(2), "outputs": [output],
    }  # fmt: skip
    return JobRow(**{**known, **more})


NEXT = Advice("Continue with:", "crucible-batch run m.yaml")


def written(directory: Path, report: ReportHead, rows: Iterator[JobRow]) -> Path:
    """Write the page of a report."""
    frame = Frame(NEXT, report_assets(), never={"NSFW_CONTENT"})
    return write_page(
        directory, directory, report, rows, Thumbnails(directory, report.counts.total), frame=frame
    )


def page(directory: Path, *rows: JobRow, **more: Any) -> str:
    return written(directory, head(len(rows), **more), iter(rows)).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """All elements of a page, as an HTML parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.text.setdefault(
                self.found[-1][0] + str(self.found[-1][1].get("id", "")), []
            ).append(data)


def data_of(text: str) -> Any:
    return json.loads("".join(Elements(text).text["scriptreport"]))


def test_hostile_words_stay_words_wherever_they_stand(tmp_path: Path) -> None:
    error = ErrorRow(code=HOSTILE, message=HOSTILE, hint=HOSTILE, request_id=HOSTILE)
    hostile = row(
        name=HOSTILE,
        prompt=HOSTILE,
        params={HOSTILE: HOSTILE},
        axes={HOSTILE: HOSTILE},
        error=error,
        status="failed",
        workflow_id=HOSTILE,
        images={"i": "ab" * 32},
        image_files={"i": f"/{HOSTILE}"},
    )
    text = page(
        tmp_path,
        hostile,
        notes=[HOSTILE],
        stops={"*": error},
        manifest=ManifestRow(name=HOSTILE, path=HOSTILE, sha256="x"),
    )
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 2
    assert not [
        tag for tag, _ in elements if tag in {"img", "iframe", "object", "link", "base", "form"}
    ]
    assert not [
        name
        for _, attributes in elements
        for name in attributes
        if name.startswith("on") or name == "style"
    ]
    assert not set("\u2028\u2029") & set(
        text.partition('id="report">')[2].partition("</script>")[0]
    )
    (job,) = data_of(text)["jobs"]
    assert (job["name"], job["prompt"], job["error"]["message"], job["axes"]) == (
        HOSTILE,
        HOSTILE,
        HOSTILE,
        {HOSTILE: HOSTILE},
    )


def test_the_policy_names_exactly_what_is_in_the_page(tmp_path: Path) -> None:
    text = page(tmp_path, row())
    (policy,) = [
        one["content"]
        for tag, one in Elements(text).found
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src 'self' data: file:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inlined,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode() in policy
    assert not re.findall(
        r"(?:src|href)=\"(?!#)", text.partition('<script type="application/json"')[0]
    )
    assert "innerHTML" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_no_two_scripts_declare_the_same_name() -> None:
    # They share one scope: the last function of a name would silently replace the first.
    added = Path(features.__file__).parent.glob("*/scripts/*.js")
    of_a_run = [path.read_text(encoding="utf-8") for path in added if path.name != "list.js"]
    declared = re.findall(
        r"^(?:async )?(?:function|const|let) (\w+)",
        "\n".join([report_scripts(), *of_a_run]),
        flags=re.MULTILINE,
    )
    assert [name for name, count in Counter(declared).items() if count > 1] == []


def test_a_page_is_whole_or_the_old_one_stays(tmp_path: Path) -> None:
    before = page(tmp_path, row())

    def broken() -> Iterator[JobRow]:
        yield row()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        written(tmp_path, head(2), broken())
    assert (tmp_path / PAGE_FILE).read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir() if path.name != ".crucible"] == [PAGE_FILE]


def test_rows_are_written_as_they_come_and_not_collected_first(tmp_path: Path) -> None:
    asked = 0

    def many() -> Iterator[JobRow]:
        nonlocal asked
        for number in range(3000):
            asked += 1
            yield row(number)

    with Thumbnails(tmp_path, 3000) as thumbnails:
        frame = Frame(NEXT, report_assets())
        pieces = page_pieces(tmp_path, head(3000), many(), thumbnails, frame=frame)
        early = ""
        while "job-0" not in early:
            early += next(pieces)
        assert asked < 200
        assert len(early) + sum(map(len, pieces)) < 5_000_000


def test_large_numbers_come_through_exactly(tmp_path: Path) -> None:
    (job,) = data_of(page(tmp_path, row()))["jobs"]
    assert job["params"] == [["prompt.text", "a fox"], ["seed", str(2**60)]]
    assert job["credits"] == "2"


def test_pictures_and_inputs_are_in_the_page_and_what_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "job-0").mkdir()
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "job-0/0.png")
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photo.png")
    fed = {
        "images": {"image.image": "cd" * 32},
        "image_files": {"image.image": str(tmp_path / "photo.png")},
    }
    data = data_of(page(tmp_path, row(0, **fed), row(1)))
    first, second = data["jobs"]
    assert first["thumbnails"][0][0].startswith("data:image/webp;base64,")
    assert first["inputs"] == [["image.image", "photo.png", "cd" * 32]]
    assert data["inputs"]["cd" * 32][1:] == [20, 20]
    assert second["thumbnails"] == [[None, 40, 30]]
    assert first["stages"] == [
        ["upload", 1.0],
        ["send", 1.0],
        ["queue", 1.0],
        ["run", 1.0],
        ["download", 1.0],
    ]


def test_a_command_of_the_page_has_the_budget_only_if_it_is_not_the_manifests(
    tmp_path: Path,
) -> None:
    for source, option in (("command", " --budget 9"), ("manifest", ""), (None, "")):
        report = head(1, status="stopped", exit_code=5, budget_source=source)
        report = report.model_copy(
            update={"credits": report.credits.model_copy(update={"budget": Decimal(9)})}
        )
        written(tmp_path, report, iter([row()]))
        data = data_of((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert data["again"] == f"crucible-batch run m.yaml --out-dir {tmp_path}{option}"


def test_a_run_in_which_nothing_happened_has_a_page(tmp_path: Path) -> None:
    empty = row(attempts=[], outputs=[], status="pending")
    text = written(tmp_path, head(), iter([empty])).read_text(encoding="utf-8")
    data = data_of(text)
    assert data["jobs"][0]["thumbnails"] == []
    assert data["advice"] == {"text": NEXT.text, "command": NEXT.command}
    assert data["never"] == sorted({"NSFW_CONTENT", *PAID_CODES})


def derived(number: int, source: SourceRow, **more: Any) -> JobRow:
    """Return a job that is made from an output of another one."""
    fed = {
        "images": {"image.image": source.sha256 or "ab" * 32},
        "image_files": {"image.image": "/out/s/1.png"},
    }
    return row(number, source=source, **{**fed, **more})


def test_a_job_of_a_later_stage_has_its_source_and_the_picture_is_in_the_page_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "job-0").mkdir()
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "job-0/0.png")
    draft = row(0)
    (output,) = draft.outputs
    source = SourceRow(name="job-0", index=0, path=output.path, sha256=output.sha256)
    photo = {"mask": "cd" * 32}
    final = derived(1, source)
    both = derived(
        2,
        source,
        images={**final.images, **photo},
        image_files={**final.image_files, "mask": "/mask.png"},
    )
    text = page(tmp_path, draft, final, both)
    data = data_of(text)
    assert data["jobs"][1]["source"] == source.model_dump()
    assert data["jobs"][1]["inputs"] == [["image.image", "job-0", output.sha256]]
    assert data["jobs"][2]["inputs"][1] == ["mask", "mask.png", "cd" * 32]
    assert list(data["inputs"]) == ["cd" * 32]
    assert text.count("data:image/webp") == 1


def test_hostile_sources_are_text_and_their_commands_are_quoted(tmp_path: Path) -> None:
    hostile = SourceRow(name=HOSTILE, index=3, path=f"../{HOSTILE}", sha256="ef" * 32)
    expected = SourceRow(name=HOSTILE, index=0)
    directory = tmp_path / "it's; $(touch x)"
    directory.mkdir()
    text = page(directory, derived(0, hostile), derived(1, expected))
    assert [tag for tag, _ in Elements(text).found].count("script") == 2
    data = data_of(text)
    first, second = data["jobs"]
    assert first["source"] == hostile.model_dump()
    assert first["inputs"] == [["image.image", HOSTILE, "ef" * 32]]
    assert second["source"] == {"name": HOSTILE, "index": 0}
    assert second["inputs"] == [["image.image", "1.png", "ab" * 32]]
    assert shlex.split(data["again"]) == [
        "crucible-batch",
        "run",
        "m.yaml",
        "--out-dir",
        str(directory),
    ]


def test_a_run_that_waits_for_picks_is_not_reported_as_done(tmp_path: Path) -> None:
    stage = WaitingRow(name=HOSTILE, sources=HOSTILE, pick=HOSTILE, choices=4)
    data = data_of(page(tmp_path, row(), status="succeeded", exit_code=0, waiting=[stage]))
    assert data["waiting"] == [stage.model_dump()]
    assert data["ending"] == "waits for picks"


@each_case(
    "code, ending",
    [
        ("BUDGET_EXHAUSTED", "budget too small for the next job"),
        ("INSUFFICIENT_CREDITS", "account out of credits"),
        ("PRICE_ABOVE_CEILING", "price above the declared ceiling"),
        ("PRICE_ROSE", "price above every bound"),
    ],
)
def test_the_page_tells_a_budget_that_is_too_small_from_an_account_without_credits(
    tmp_path: Path, code: str, ending: str
) -> None:
    stops = {"workflow:z": ErrorRow(code=code, message="why")}
    data = data_of(page(tmp_path, row(), status="blocked", exit_code=4, stops=stops))
    assert data["ending"] == ending
