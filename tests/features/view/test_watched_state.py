"""The state of a run is the same in the viewer as in the list of runs."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.view.watching import Watch
from crucible_batch.runs.run_list import list_runs, state_of
from tests.unit.runs.test_run_list import make_run


def test_a_watched_run_has_the_state_and_the_time_of_the_listed_one(tmp_path: Path) -> None:
    make_run(tmp_path / "a", finished_at=2000, exit_code=130)
    make_run(tmp_path / "b", began_at=3000)
    for run in list_runs(tmp_path).runs:
        watched = Watch(run.run_dir).look().status
        assert run.status is not None
        assert (state_of(watched), watched.changed_at) == (run.state, run.status.changed_at)
