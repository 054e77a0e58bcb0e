"""The option of ``plan`` that prints it as Markdown."""

from __future__ import annotations

from crucible_batch.features.markdown.options import MarkdownOptions

EXAMPLES = ("crucible-batch plan spring.yaml --markdown",)
HELP = ""

Options = MarkdownOptions
