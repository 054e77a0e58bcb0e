"""Parameters of a job: literal values are used unchanged, values with templates are rendered for each job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from crucible_batch.manifest.source_map import Path, SourceNode
from crucible_batch.manifest.template_filters import TemplateFault, Variables
from crucible_batch.manifest.templates import Json, Template, Templates, is_template

_SCALARS = frozenset({int, float, bool, type(None)})

Report: TypeAlias = Callable[[SourceNode, Path, TemplateFault], None]
ReportAt: TypeAlias = Callable[[Path, TemplateFault], None]


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A list or mapping that contains a template at any depth; ``items`` are compiled."""

    items: Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is rendered for each job: its compiled value and its location (in the job or the defaults)."""

    value: Template | _Rendered
    site: SourceNode
    path: tuple[str | int, ...]

    def render(self, variables: Variables, report: Report) -> Json:
        """Return the value for one job. A template that fails is reported and rendered as None."""
        return _render(self.value, variables, self.path, lambda path, fault: report(self.site, path, fault))


class Compiled(NamedTuple):
    """Parameters in manifest order. For each parameter in ``rendered``, ``values`` holds None to keep its position."""

    values: Mapping[str, Json]
    rendered: Mapping[str, Parameter]

    def under(self, own: Compiled) -> Compiled:
        """Return these parameters overridden by a job's ``own``."""
        if not self.values:
            return own
        values = {**self.values, **own.values}
        if not self.rendered and not own.rendered:
            return Compiled(values, own.rendered)
        both = {**self.rendered, **own.rendered}
        is_own = own.rendered.keys() | (both.keys() - own.values.keys())
        return Compiled(values, {name: both[name] for name in values if name in is_own})


def compiled(params: Mapping[str, Any], site: SourceNode, path: Path, templates: Templates, report: Report) -> Compiled:
    """Compile the parameters at ``path``. Templates that can't be compiled are reported and replaced by None."""
    if all("{" not in raw if type(raw) is str else type(raw) in _SCALARS for raw in params.values()):
        return Compiled(params, {})  # fast path for most jobs
    made: dict[str, Json] = {}
    rendered: dict[str, Parameter] = {}
    for name, raw in params.items():
        made[name] = raw
        if isinstance(raw, str | list | dict):
            at = (*path, name)
            value = made[name] = _compile(raw, at, templates, lambda path, fault: report(site, path, fault))
            if isinstance(value, Template | _Rendered):
                made[name] = None
                rendered[name] = Parameter(value, site, at)
    return Compiled(made, rendered)


def _compile(raw: Any, path: tuple[str | int, ...], templates: Templates, report: ReportAt) -> Any:
    if isinstance(raw, str) and is_template(raw):
        try:
            return templates.compile(raw)
        except TemplateFault as fault:
            report(path, fault)
            return None
    if isinstance(raw, list):
        items = [_compile(item, (*path, index), templates, report) for index, item in enumerate(raw)]
        return _Rendered(items) if any(isinstance(item, Template | _Rendered) for item in items) else raw
    if isinstance(raw, dict):
        members = {name: _compile(item, (*path, name), templates, report) for name, item in raw.items()}
        return _Rendered(members) if any(isinstance(item, Template | _Rendered) for item in members.values()) else raw
    return raw


def _render(value: Any, variables: Variables, path: tuple[str | int, ...], report: ReportAt) -> Json:
    if isinstance(value, Template):
        try:
            return value.value(variables)
        except TemplateFault as fault:
            report(path, fault)
            return None
    if not isinstance(value, _Rendered):
        literal: Json = value
        return literal
    if isinstance(value.items, Mapping):
        return {name: _render(item, variables, (*path, name), report) for name, item in value.items.items()}
    return [_render(item, variables, (*path, index), report) for index, item in enumerate(value.items)]
