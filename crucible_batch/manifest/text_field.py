"""A text field of an entry of ``jobs``."""

from __future__ import annotations

from crucible_batch.manifest.template_filters import TemplateFault, Variables
from crucible_batch.manifest.templates import MAX_VALUE, Templates, is_template

_NO_NAMES: frozenset[str] = frozenset()


class TextField:
    """A text field of an entry, either literal or a template."""

    __slots__ = ("_limit", "_template", "literal", "path")

    def __init__(
        self, text: str, path: tuple[str | int, ...], templates: Templates, limit: int = MAX_VALUE
    ) -> None:
        self.path = path
        self._limit = limit
        self.literal = text
        self._template = None
        if is_template(text):
            self._template = templates.compile(text)
        elif len(text) > limit // 4 and len(text.encode()) > limit:
            raise TemplateFault(f"longer than {limit // 1024} KiB, the limit for this field")

    @property
    def names(self) -> frozenset[str]:
        if self._template is None:
            return _NO_NAMES
        return self._template.names

    def render(self, variables: Variables) -> str:
        if self._template is None:
            return self.literal
        return self._template.text(variables, self._limit)
