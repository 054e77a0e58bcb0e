"""The options of ``plan`` that choose a few jobs: those of ``run``."""

from __future__ import annotations

from crucible_batch.features.sample.run_options import SampleOptions

EXAMPLES = ("crucible-batch plan spring.yaml --sample 10",)
HELP = ""

Options = SampleOptions
