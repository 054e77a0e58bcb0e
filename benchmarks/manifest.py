"""Manifests: read, rendered, checked, hashed and planned, beside what PyYAML's C loader takes to
load them only.

``crucible-batch validate`` plans every job into a plan file, as ``plan`` and ``run`` do, and asks
no gateway. Both processes are measured from start to end, start-up included. A job of YAML has some
360 bytes and a prompt of its own with a variable in it; a row of CSV or JSONL makes one of the same
kind.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from benchmarks.process import FLOORS, Cost, interleaved, median, median_ratio, run
from benchmarks.row import Row

_HEAD = (
    "version: 1\nname: bench\nworkflow: zimage-base\nvars: {brand: Acme}\n"
    "params: {size.width: 1024}\n"
)
_ROWS = """jobs:
  - name: "sku-{{{{ row.sku }}}}"
    foreach: {table}
    prompt: "{{{{ row.title }}}} on marble, {{{{ brand }}}}"
    params: {{size.height: 768, sampler.steps: 20, sampler.seed: "{{{{ row.seed | int }}}}"}}
"""
_WHY_YAML = (
    "libyaml's events, as objects of PyYAML, take 0.12x, and the start of the process 0.02x; "
    "the rest is Python code for each job: the tree with the positions of keys and values, "
    "validation, the job, its identity and the plan"
)
_WHY_TABLE = (
    "a job takes about 50 µs of Python code in addition to its row, "
    "such as checks that name and content are unique (7), templates and names (10), "
    "the canonical form and its digest (6), and the row of the plan with its index (6)"
)
_WHY_INLINE = (
    "the interpreter with pydantic, Typer and OpenSSL takes 44 MB before a manifest is opened; "
    "a job in YAML adds about 4 KB, a row of a table adds nothing"
)
_WHY_MILLION = (
    "the time per row is the same as with ten thousand rows; "
    "other processes on the machine increase it"
)
_SCENE = "of a lighthouse at dusk, in the manner of an old travel poster"


def _job(number: int) -> str:
    return (
        f"  - name: job-{number:06d}\n"
        f'    prompt: "A watercolour {_SCENE}, number {number}, {{{{ brand }}}}, '
        'with long shadows and a calm sea"\n'
        "    params:\n"
        "      size.height: 768\n"
        "      sampler.steps: 20\n"
        f"      sampler.seed: {number * 7919}\n"
        "      sampler.name: euler\n"
        "      negative.text: blurry, low contrast, watermark\n"
    )


def in_yaml(folder: Path, jobs: int) -> Path:
    """Write a manifest with its jobs in it."""
    path = folder / f"jobs-{jobs}.yaml"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{_HEAD}jobs:\n")
        file.writelines(map(_job, range(jobs)))
    return path


def in_table(folder: Path, kind: str, jobs: int) -> Path:
    """Write a table, ``csv`` or ``jsonl``, and a manifest with a job a row."""
    table = folder / f"rows-{jobs}.{kind}"
    with table.open("w", encoding="utf-8") as file:
        file.write("sku,title,seed\n" if kind == "csv" else "")
        for number in range(jobs):
            sku, title, seed = (
                f"a{number:07d}",
                f"A watercolour {_SCENE}, number {number}",
                number * 7919,
            )
            row = (
                f'{sku},"{title}",{seed}'
                if kind == "csv"
                else f'{{"sku":"{sku}","title":"{title}","seed":{seed}}}'
            )
            file.write(row + "\n")
    path = folder / f"{kind}-{jobs}.yaml"
    path.write_text(_HEAD + _ROWS.format(table=table.name), encoding="utf-8")
    return path


def ours(path: Path, jobs: int) -> Cost:
    limits = ["--max-jobs", str(jobs), "--max-manifest-size", "64MB"]
    return run(
        [sys.executable, "-m", "crucible_batch", "validate", path, *limits], folder=path.parent
    )


def floor(path: Path) -> Cost:
    return run([sys.executable, FLOORS / "load_yaml.py", path], folder=path.parent)


def _beside_floor(folder: Path, jobs: int, rounds: int) -> Iterator[Row]:
    yaml = in_yaml(folder, jobs)
    tables = {kind: in_table(folder, kind, jobs) for kind in ("csv", "jsonl")}
    contenders: dict[str, Callable[[], Cost]] = {"floor": partial(floor, yaml)}
    contenders |= {
        name: partial(ours, path, jobs) for name, path in ({"YAML": yaml} | tables).items()
    }
    costs = interleaved(contenders, rounds)
    base = costs.pop("floor")
    for name, taken in costs.items():
        goal = 0.5 if name in tables else 2.0
        ratio = median_ratio((cost.cpu_s for cost in taken), (cost.cpu_s for cost in base))
        seconds, base_seconds = (median(cost.cpu_s for cost in each) for each in (taken, base))
        peak, base_peak = (median(cost.peak_bytes for cost in each) / 1e6 for each in (taken, base))
        note = (
            f"{seconds:.1f} s of CPU beside {base_seconds:.1f}, "
            f"{peak:.0f} MB beside {base_peak:.0f}; {rounds} rounds"
        )
        what, why = (
            f"manifest of {jobs:,} jobs, {name}",
            _WHY_TABLE if name in tables else _WHY_YAML,
        )
        yield Row(
            f"{what}: CPU beside CSafeLoader",
            f"≤ {goal}×",
            f"{ratio:.2f}×",
            ratio <= goal,
            note,
            why,
        )


def _inline(folder: Path, jobs: int = 10_000) -> Iterator[Row]:
    cost = ours(in_yaml(folder, jobs), jobs)
    what, peak = f"manifest of {jobs:,} jobs, YAML", cost.peak_bytes / 1e6
    yield Row(
        f"{what}: CPU", "< 2 s", f"{cost.cpu_s:.1f} s", cost.cpu_s < 2, "one round", _WHY_YAML
    )
    yield Row(f"{what}: memory", "< 300 MB", f"{peak:.0f} MB", peak < 300, "one round", _WHY_INLINE)


@cache
def planned(rows: int) -> Cost:
    """Plan so many rows of CSV, once a benchmark: ``memory`` has the same figure."""
    with tempfile.TemporaryDirectory() as folder:
        return ours(in_table(Path(folder), "csv", rows), rows)


def _million(jobs: int) -> Row:
    cost, bound_s = planned(jobs), 45 * jobs / 1_000_000
    note = f"{cost.cpu_s:.0f} s of CPU; one round"
    what = f"manifest of {jobs:,} rows of CSV: planned in"
    return Row(
        what,
        f"< {bound_s:.0f} s",
        f"{cost.wall_s:.0f} s",
        cost.wall_s < bound_s,
        note,
        _WHY_MILLION,
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _beside_floor(Path(folder), 20_000 if quick else 100_000, 1 if quick else 2)
        yield from _inline(Path(folder))
    yield _million(100_000 if quick else 1_000_000)
