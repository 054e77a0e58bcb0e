"""The option of ``report`` that prints it as Markdown."""

from __future__ import annotations

from crucible_batch.features.markdown.options import MarkdownOptions

EXAMPLES = ("crucible-batch report outputs/spring/default --markdown",)
HELP = ""

Options = MarkdownOptions
