"""What the acceptance tests ask for, and what must hold after any run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from other_gateway import OtherGateway
from other_world import REBATE, UPLOAD_PRICE, WORKFLOWS, render

from tests.harness.forked_commands import Process, start_command, start_installed

RUN = ["run", "manifest.yaml"]
WRITING = ("POST", "PUT", "DELETE", "PATCH")
EXTENSIONS = {
    "PNG": ("png", "image/png"),
    "JPEG": ("jpg", "image/jpeg"),
    "WEBP": ("webp", "image/webp"),
}

MANIFEST = """\
version: 1
name: acceptance
workflow: Paint.Text
budget: {credits: 40}
provenance: {sidecar: true}
vars: {brand: Acme}
workflows:
  edit.v2: {params: {strength: 0.5}}
jobs:
  - name: plain
    prompt: "A lighthouse at the cafe\\u0301, {{ brand }}"
    params: {width.value: 640, seed.value: 9007199254740993}
  - name: grid
    prompt: "{{ style }}, take {{ take }}"
    matrix: {style: [noir, watercolor], take: [1, 2]}
  - name: retouch
    workflow: edit.v2
    prompt: "@prompts/retouch.txt"
    image: photos/mug.png
  - name: "sku-{{ row.sku }}"
    foreach: products.csv
    workflow: edit.v2
    prompt: "{{ row.title }} on marble"
    image: "photos/{{ row.photo }}"
    params: {seed: "{{ row.seed | int }}"}
  - name: again
    workflow: bare
    prompt: the same picture
    repeat: 3
"""


@dataclass(frozen=True)
class Wanted:
    """One job that the manifest asks for, worked out by hand."""

    name: str
    workflow: str
    params: dict[str, Any]
    photo: str | None = None

    def asked(self, folder: Path) -> dict[str, Any]:
        return self.params | (
            {"image.image": digest(folder / "photos" / self.photo)} if self.photo else {}
        )

    def outputs(self, folder: Path) -> list[tuple[str, bytes]]:
        """Its outputs as (format, bytes), in the order of the gateway's output_index."""
        asked = self.asked(folder)
        return [
            (fmt, render(self.workflow, asked, index, fmt))
            for index, fmt in sorted(WORKFLOWS[self.workflow].outputs)
        ]


WANTED = [
    Wanted(
        "plain",
        "Paint.Text",
        {
            "prompt.value": "A lighthouse at the cafe\u0301, Acme",
            "width.value": 640,
            "seed.value": 9007199254740993,
        },
    ),
    Wanted("grid-noir-1", "Paint.Text", {"prompt.value": "noir, take 1"}),
    Wanted("grid-noir-2", "Paint.Text", {"prompt.value": "noir, take 2"}),
    Wanted("grid-watercolor-1", "Paint.Text", {"prompt.value": "watercolor, take 1"}),
    Wanted("grid-watercolor-2", "Paint.Text", {"prompt.value": "watercolor, take 2"}),
    Wanted(
        "retouch", "edit.v2", {"prompt.text": "Retouch it for Acme", "strength": 0.5}, "mug.png"
    ),
    Wanted(
        "sku-001",
        "edit.v2",
        {"prompt.text": "Mug, blue on marble", "strength": 0.5, "seed": 1},
        "mug.png",
    ),
    Wanted(
        "sku-002",
        "edit.v2",
        {"prompt.text": "Same mug on marble", "strength": 0.5, "seed": 20},
        "mug-copy.png",
    ),
    Wanted(
        "sku-003",
        "edit.v2",
        {"prompt.text": "Vase on marble", "strength": 0.5, "seed": 300},
        "vase.jpg",
    ),
    Wanted(
        "sku-004",
        "edit.v2",
        {"prompt.text": "Lampe à huile on marble", "strength": 0.5, "seed": 4},
        "lamp.webp",
    ),
    *(Wanted(f"again-{k}", "bare", {"prompt.text": "the same picture"}) for k in (1, 2, 3)),
]
PHOTOS = {"mug.png", "vase.jpg", "lamp.webp"}  # the distinct ones
COST = sum((WORKFLOWS[job.workflow].price for job in WANTED), Decimal(0)) + UPLOAD_PRICE * len(
    PHOTOS
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment(gateway: OtherGateway, folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "LANG", "PYTHONPATH", "TMPDIR"}
    }
    return {
        **kept,
        "HOME": str(folder),
        "MOLTAZINE_API_KEY": gateway.api_key,
        "CRUCIBLE_API_BASE": gateway.api_url,
    }


def command(
    gateway: OtherGateway, folder: Path, *arguments: str, expect: int, is_installed: bool = False
) -> str:
    """Run the product's command and return its standard output. It must end with ``expect`` and
    never name the key.

    ``is_installed``: as its own script, and not in a fork.
    """
    run = start_installed if is_installed else start_command
    process = run(arguments, cwd=folder, env=environment(gateway, folder))
    out, err = process.communicate(timeout=240)
    assert process.returncode == expect, f"exit {process.returncode}\n{out[-3000:]}\n{err[-3000:]}"
    assert gateway.api_key not in out + err
    assert "Traceback" not in err
    return out


def start(gateway: OtherGateway, folder: Path, *arguments: str) -> Process:
    """Start the product's command and leave it running; nobody reads what it prints."""
    return start_command(
        arguments, cwd=folder, env=environment(gateway, folder), stdout=DEVNULL, stderr=DEVNULL
    )


def run_killed_at(
    gateway: OtherGateway, folder: Path, what: str, number: int, *arguments: str
) -> None:
    """Run until the gateway has sold its ``number``-th "job" or "asset", and kill -9 it before it
    has the answer.

    ``arguments`` are those of the command, by default ``RUN``.
    """

    def kill(bought: str, count: int) -> None:
        if (bought, count) == (what, number):
            os.kill(process.pid, signal.SIGKILL)
            process.wait(120)

    with gateway.lock:  # no purchase before the process is known
        gateway.before_answer = kill
        process = start(gateway, folder, *(arguments or RUN))
    assert process.wait(120) == -signal.SIGKILL
    gateway.before_answer = lambda _what, _count: None
    assert len(gateway.assets if what == "asset" else gateway.jobs) >= number


def run_dir(folder: Path, name: str = "acceptance") -> Path:
    return folder / "outputs" / name / "default"


def report_of(folder: Path, name: str = "acceptance") -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        (run_dir(folder, name) / "report.json").read_text(encoding="utf-8")
    )
    return report


def amounts(report: dict[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in report["credits"].items() if text is not None}


def identities(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """What must be the same however a run came to its end."""
    return [
        (
            job["name"],
            job["job_id"],
            job["idempotency_key"],
            job["params"],
            [(o["path"], o["sha256"]) for o in job["outputs"]],
        )
        for job in report["jobs"]
    ]


def small_manifest(folder: Path, budget: str, *jobs: str) -> None:
    lines = [
        "version: 1",
        "name: small",
        "workflow: bare",
        f"budget: {{credits: {budget}}}",
        "provenance: {sidecar: true}",
        "jobs:",
    ]
    (folder / "manifest.yaml").write_text(
        "\n".join([*lines, *(f"  - {job}" for job in jobs), ""]), encoding="utf-8"
    )


# -- what must hold after any run


def assert_contract_kept(gateway: OtherGateway) -> None:
    """No breach of the contract; keys on all jobs, none of them shared; the key at the API and
    nowhere else."""
    assert gateway.violations == []
    keys = [job.key for job in gateway.jobs.values()]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    at_storage = [request for request in gateway.requests if request["where"] == "storage"]
    assert not any(
        gateway.api_key in str(request) or "authorization" in request["headers"]
        for request in at_storage
    )


def assert_bought_once(
    gateway: OtherGateway, folder: Path, wanted: Sequence[Wanted] = WANTED
) -> None:
    """Counted by what was asked for, not by key: a retry under another key would show."""

    def counted(pairs: list[tuple[str, dict[str, Any]]]) -> Counter[str]:
        return Counter(json.dumps(pair, sort_keys=True) for pair in pairs)

    bought = counted([(job.workflow, job.asked) for job in gateway.jobs.values()])
    assert bought == counted([(job.workflow, job.asked(folder)) for job in wanted])


def assert_uploaded_once(gateway: OtherGateway, folder: Path) -> None:
    """Each distinct image is kept once, and its bytes were sent once."""
    kept = [asset for asset in gateway.assets.values() if not asset.deleted]
    stored = [hashlib.sha256(asset.content or b"").hexdigest() for asset in kept]
    assert sorted(stored) == sorted(digest(folder / "photos" / name) for name in PHOTOS)
    assert len(gateway.seen("storage", "PUT")) == len(PHOTOS)


def assert_books_agree(
    gateway: OtherGateway, report: dict[str, Any], *, never_arrived: int = 0
) -> None:
    """The report's credits are the ledger's, to the last digit.

    ``never_arrived`` upload intents were decided on and, by a kill, not sent, or not answered: each
    may stay held, at the price of an upload where none was known by then, else at 16 times that;
    one that is found counts as spent too.
    """
    told = amounts(report)
    assert told["spent"] == gateway.spent()
    assert told["jobs"] == gateway.total("consume")
    assert told["uploads"] == gateway.total("charge")
    assert told["rebates"] == gateway.total("rebate")
    assert told["refunded"] == gateway.total("refund")
    assert gateway.reserved() == 0
    lost = report["credits"].get("lost_uploads", 0)
    assert told["held"] in {
        (lost + 15 * bounded) * UPLOAD_PRICE for bounded in range(never_arrived + 1)
    }
    assert lost <= never_arrived
    assert told["over_budget"] == max(Decimal(0), gateway.spent() - told["budget"])


def assert_outputs_true(
    folder: Path, report: dict[str, Any], wanted: Sequence[Wanted] = WANTED
) -> None:
    """Each output is what the gateway drew, byte for byte, under the type that it really has."""
    assert [(job["name"], job["workflow_id"]) for job in report["jobs"]] == [
        (job.name, job.workflow) for job in wanted
    ]
    for told, job in zip(report["jobs"], wanted, strict=True):
        expected = job.outputs(folder)
        assert told["status"] == "succeeded"
        assert len(told["outputs"]) == len(expected)
        for output, (fmt, content) in zip(told["outputs"], expected, strict=True):
            path = run_dir(folder) / output["path"]
            assert path.resolve().is_relative_to(run_dir(folder).resolve())
            assert path.read_bytes() == content
            assert output["sha256"] == hashlib.sha256(content).hexdigest()
            assert (output["byte_size"], output["width"], output["height"]) == (
                len(content),
                24,
                16,
            )
            assert (path.suffix[1:], output["mime_type"]) == EXTENSIONS[fmt]


def assert_only_results_remain(gateway: OtherGateway, folder: Path, report: dict[str, Any]) -> None:
    """Neither the key nor a signed address is in any file, and no picture lies about that the
    report doesn't name."""
    files = [path for path in run_dir(folder).rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        assert gateway.api_key.encode() not in content, path
        assert b"Signature=" not in content, path
    paths = [output["path"] for job in report["jobs"] for output in job["outputs"]]
    named = {run_dir(folder) / f"{path}{beside}" for path in paths for beside in ("", ".json")}
    results = {
        path
        for path in files
        if not path.relative_to(run_dir(folder)).parts[0].startswith((".", "report.", "receipts."))
    }
    assert results == named


def assert_all_is_well(gateway: OtherGateway, folder: Path) -> dict[str, Any]:
    report = report_of(folder)
    assert report["status"] == "succeeded"
    assert report["counts"]["succeeded"] == report["counts"]["total"] == len(WANTED)
    assert_contract_kept(gateway)
    assert_bought_once(gateway, folder)
    assert_outputs_true(folder, report)
    assert_only_results_remain(gateway, folder, report)
    return report


def assert_costs_nothing(gateway: OtherGateway, requests_before: int, ledger_before: int) -> None:
    later = gateway.requests[requests_before:]
    assert [
        request
        for request in later
        if request["method"] in WRITING or request["where"] == "storage"
    ] == []
    assert len(gateway.ledger) == ledger_before


def assert_lost_answer_made_good(
    gateway: OtherGateway, folder: Path, lost: range, *, never_arrived: int = 0
) -> None:
    """No job was bought twice; uploads whose answers were lost were given back, and the books know
    all of it."""
    report = assert_all_is_well(gateway, folder)
    assert_uploaded_once(gateway, folder)
    assert_books_agree(gateway, report, never_arrived=never_arrived)
    extra = len(gateway.assets) - len(PHOTOS)
    assert extra in lost
    assert gateway.spent() == COST + extra * (UPLOAD_PRICE - REBATE)
