"""The option of ``plan`` that names the file of rejections: that of ``run``."""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.features.redo.run_options import RejectsOption

EXAMPLES: Sequence[str] = ()
HELP = ""
Options = RejectsOption
