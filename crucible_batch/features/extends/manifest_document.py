"""The document of a manifest, completed by that of the file that it extends."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from crucible_batch.manifest.files import FileFault, Files, quoted
from crucible_batch.manifest.loader import DocumentReader
from crucible_batch.manifest.source_map import SourceMap, SourceNode
from crucible_batch.manifest.yaml_reader import Document

KEY = "extends"


def completed(document: Document, reader: DocumentReader, *, allow_outside: bool) -> Document:
    """Return the document with what only its base has. Raises ``ManifestError``.

    A value of ``extends`` that is not a path is left to the check of the form.
    """
    name = document.root.value.get(KEY)
    if not isinstance(name, str) or not name:
        return document
    base, path = _base(document, name, reader, allow_outside=allow_outside)
    if KEY in base.root.value:
        problem = base.root.problem(
            (KEY,),
            f"{quoted(name)} is extended, and can't extend another file itself",
            key=True,
            hint="move what it extends into it, or extend one of the two files",
        )
        document.problems.add(problem)
        raise document.problems.error()
    document.problems.extend(base.problems.error().problems)
    _set_file(base.root.source_map, base.root.file)
    value, source_map = _merged(base.root, document.root)
    del value[KEY]
    root = SourceNode(document.root.file, value, source_map)
    return replace(
        document, root=root, warnings=(*document.warnings, *base.warnings), bases=(path,)
    )


def _base(
    document: Document, name: str, reader: DocumentReader, *, allow_outside: bool
) -> tuple[Document, Path]:
    """Return the base with the real path of its file."""
    folder = document.root.file.parent
    files = Files(Path(os.path.abspath(folder)), allow_outside=allow_outside)  # noqa: PTH100
    try:
        path = files.find(name)
    except FileFault as fault:
        document.problems.add(
            document.root.problem((KEY,), str(fault), nearest=fault.nearest, hint=fault.hint)
        )
        raise document.problems.error() from None
    return reader.parsed(reader.content(path), folder / name), path


def _merged(base: SourceNode, own: SourceNode) -> tuple[Any, SourceMap]:
    """Return the value of a key that both may have, with its source map.

    The keys of mappings stay in the order of the base, since the last axis of a matrix varies
    fastest.
    """
    if not isinstance(base.value, dict) or not isinstance(own.value, dict):
        return own.value, own.source_map
    value: dict[str, Any] = {}
    children: dict[str, SourceMap] = {}
    for key in {**base.value, **own.value}:
        found = [node for node in (_child(base, key), _child(own, key)) if node is not None]
        value[key], children[key] = found[-1].value, found[-1].source_map
        if len(found) > 1:
            value[key], children[key] = _merged(*found)
    span = own.source_map
    return value, SourceMap(span.span, span.key, children, span.file)


def _child(node: SourceNode, key: str) -> SourceNode | None:
    if key not in node.value:
        return None
    source_map = node.source_map.child(key)
    assert source_map is not None
    return SourceNode(node.file, node.value[key], source_map)


def _set_file(source_map: SourceMap, file: Path) -> None:
    """Set the file of all values within, each once: aliases share theirs."""
    left = [source_map]
    while left:
        one = left.pop()
        if one.file is None:
            one.file = file
            children = one.children
            left.extend(children.values() if isinstance(children, dict) else children)
