"""Parameters of a job: literal values are used unchanged, values with templates are rendered for
each job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from crucible_batch.manifest.source_map import Path, SourceNode
from crucible_batch.manifest.template_filters import TemplateFault, Variables
from crucible_batch.manifest.templates import Json, Template, Templates, is_template

Report = Callable[[SourceNode, Path, TemplateFault], None]
_Place = tuple[SourceNode, tuple[str | int, ...]]


class Compiled(NamedTuple):
    """Parameters in manifest order, with templates compiled, also within lists and mappings.

    ``rendered`` are those that are rendered for each job, with their places in the job or in the
    defaults.
    """

    values: Mapping[str, Any]
    rendered: Mapping[str, _Place]

    def under(self, own: Compiled) -> Compiled:
        """Return these parameters overridden by a job's ``own``."""
        inherited = {name: place for name, place in self.rendered.items() if name not in own.values}
        return Compiled({**self.values, **own.values}, {**inherited, **own.rendered})

    def render(self, variables: Variables, report: Report) -> Mapping[str, Json]:
        """Return the values for one job. A template that fails is reported and rendered as None."""
        if not self.rendered:
            return self.values
        made = {
            name: _render(self.values[name], variables, place, report)
            for name, place in self.rendered.items()
        }
        return {**self.values, **made}


def compiled(
    params: Mapping[str, Any], site: SourceNode, path: Path, templates: Templates, report: Report
) -> Compiled:
    """Compile the parameters at ``path``.

    Templates that can't be compiled are reported and replaced by None.
    """
    values = {
        name: _compile(raw, (site, (*path, name)), templates, report)
        for name, raw in params.items()
    }
    rendered = {
        name: (site, (*path, name))
        for name, value in values.items()
        if isinstance(value, Template | list | dict)
    }
    return Compiled(values, rendered)


def _compile(raw: Any, place: _Place, templates: Templates, report: Report) -> Any:
    if isinstance(raw, str) and is_template(raw):
        try:
            return templates.compile(raw)
        except TemplateFault as fault:
            report(*place, fault)
            return None
    return _each(raw, place, lambda item, inner: _compile(item, inner, templates, report))


def _render(value: Any, variables: Variables, place: _Place, report: Report) -> Json:
    if isinstance(value, Template):
        try:
            return value.value(variables)
        except TemplateFault as fault:
            report(*place, fault)
            return None
    made: Json = _each(value, place, lambda item, inner: _render(item, variables, inner, report))
    return made


def _each(value: Any, place: _Place, change: Callable[[Any, _Place], Any]) -> Any:
    """Return a list or a mapping with each of its values changed; any other value unchanged."""
    site, path = place
    if isinstance(value, list):
        return [change(item, (site, (*path, index))) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: change(item, (site, (*path, name))) for name, item in value.items()}
    return value
