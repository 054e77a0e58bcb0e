"""The viewer's templates, scripts and styles as files of the package, and a page made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from crucible_batch.domain.credits import format_credits
from crucible_batch.report.html import PageAssets, make_assets, report_scripts, report_styles

SOURCES = ("img-src 'self'", "connect-src 'self'")
"""What a page may load besides its own scripts and styles, as directives of its content security policy."""


@dataclass(frozen=True, slots=True)
class Page:
    """HTML and its content security policy."""

    html: str
    policy: str


def read_file(name: str) -> str:
    """Return the text of a file of this package."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def assets_of(name: str, *, is_controlled: bool = False) -> PageAssets:
    """Join the scripts and styles of a page that is not a run's: those shared with the report, and its own.

    ``is_controlled``: the page takes the token of the session from its address.
    """
    scripts = report_scripts("dom", "theme") + read_file(f"scripts/{name}.js")
    if is_controlled:
        scripts = read_file("scripts/token.js") + scripts
    return make_assets(scripts, report_styles("tokens", "page") + read_file(f"styles/{name}.css"), *SOURCES)


@cache
def template(name: str) -> Template:
    """Return a template, which escapes what it is given."""
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["credits"] = format_credits
    environment.filters["grouped"] = "{:,}".format
    return environment.get_template(name)
