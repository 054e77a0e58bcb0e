"""The manifests of a scheduler, read again when their files change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crucible_batch.errors import ManifestError
from crucible_batch.scheduling.schedules import ScheduledManifest, may_be_a_manifest, read_schedule, yaml_files

_Signature = tuple[int, int, int]


class ManifestFolder:
    """The schedules of folders and manifests, by absolute path. A manifest that became invalid keeps its last one.

    ``problems`` are those of the manifests that are invalid now.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = tuple(places)
        self._seen: dict[str, _Signature] = {}
        self.schedules: dict[str, ScheduledManifest] = {}
        self.problems: dict[str, str] = {}

    def refresh(self, report: Callable[[str], None]) -> bool:
        """Read new and changed files, and forget missing ones. Return whether anything changed.

        ``report`` is called with each change and each problem, once.
        """
        present = dict(self._signatures())
        changed = [path for path, signature in present.items() if self._seen.get(path) != signature]
        gone = self._seen.keys() - present.keys()
        self._seen = present
        for path in sorted(gone):
            self.problems.pop(path, None)
            if self.schedules.pop(path, None) is not None:
                report(f"{path} was removed, and its schedule ends")
        for path in changed:
            self._read(path, report)
        return bool(changed or gone)

    def _read(self, path: str, report: Callable[[str], None]) -> None:
        known = self.schedules.get(path)
        if known is None and path not in self.problems and not may_be_a_manifest(Path(path)):
            return
        try:
            schedule = read_schedule(Path(path))
        except ManifestError as error:
            self.problems[path] = str(error)
            kept = "; its last valid schedule is kept" if known is not None else ""
            report(f"{path} is invalid{kept}: {error}")
            return
        self.problems.pop(path, None)
        if schedule is None:
            if self.schedules.pop(path, None) is not None:
                report(f"{path} has no schedule any more")
            return
        self.schedules[path] = schedule
        if known is None or (known.cron, known.zone_name) != (schedule.cron, schedule.zone_name):
            report(f"{path}: {schedule.cron} {schedule.zone_name}")

    def _signatures(self) -> Iterator[tuple[str, _Signature]]:
        for place in self._places:
            for path in yaml_files(place) if place.is_dir() else [place]:
                try:
                    status = path.stat()
                except OSError:
                    continue
                yield os.path.abspath(path), (status.st_mtime_ns, status.st_size, status.st_ino)  # noqa: PTH100
