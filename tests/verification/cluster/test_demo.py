"""``demo --cluster``, as a newcomer runs it, and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import clean_environment
from tests.preloaded import COMMAND

pytestmark = pytest.mark.slow


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary directory for the demo, which a PostgreSQL that doesn't run as root can reach."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def started(folder: Path, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "demo", "--cluster"],
        cwd=folder,
        env=clean_environment(TMPDIR=str(temporary), PATH=os.environ["PATH"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_running(temporary: Path) -> list[str]:
    """The processes that have the temporary directory in their environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(temporary).encode() in text:
            found.append(process.name)
    return found


def test_the_demo_ends_with_its_summary_and_what_the_ledger_proves(tmp_path: Path, temporary: Path) -> None:
    demo = started(tmp_path, temporary)
    out, err = demo.communicate()
    assert demo.returncode == 0, err
    assert "killed   worker" in err
    assert "30 of 30 jobs succeeded" in out
    assert "30 jobs charged, none twice · 66 credits in total, at most 66 of 80 at any time" in out
    assert "-of-6.e1 and " in out
    report = json.loads((tmp_path / "outputs/demo/cluster/report.json").read_text(encoding="utf-8"))
    assert report["counts"]["succeeded"] == 30
    assert left_running(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, temporary: Path, number: int, code: int) -> None:
    demo = started(tmp_path, temporary)
    assert demo.stderr is not None
    while "wave 1" not in (line := demo.stderr.readline()):
        assert line, "it has ended"
    demo.send_signal(number)
    _, err = demo.communicate()
    assert demo.returncode == code, err
    assert "stopped by" in err
    assert "Traceback" not in err
    assert left_running(temporary) == []
    assert list(temporary.iterdir()) == []
