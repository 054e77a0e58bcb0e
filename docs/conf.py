"""How the site is built:

Markdown pages by MyST, the Python API from its docstrings, nothing loaded from elsewhere.
"""

from pygments.lexers.shell import BashLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import crucible_batch

project = "crucible-batch"
author = "The crucible-batch authors"
release = crucible_batch.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["images/*"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"

smartquotes = False  # what is typed has straight ones

html_theme = "furo"
html_title = f"crucible-batch {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Let the pages name the languages that they are written in, those too that have no colors."""
    app.add_lexer("crontab", BashLexer)
    app.add_lexer("csv", TextLexer)
