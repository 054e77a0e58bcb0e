"""Every type can be imported that is in the signature of a public function or of a method of a
public class, or that a field of a public class has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from msgspec import Struct
from pydantic import BaseModel

import crucible_batch


def _types_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and annotation.__module__.startswith("crucible_batch"):
        yield annotation
    for part in annotation if isinstance(annotation, list) else get_args(annotation):
        yield from _types_in(part)


def _annotations(function: Callable[..., Any]) -> Iterator[Any]:
    names = {
        "Sequence": Sequence
    }  # the names of the standard library that a method's module hides by its own
    yield from get_type_hints(inspect.unwrap(function), localns=names).values()
    for parameter in inspect.signature(function).parameters.values():
        if not isinstance(parameter.annotation, str):
            yield parameter.annotation


def _functions_of(public: Any) -> Iterator[Callable[..., Any]]:
    if inspect.isfunction(public):
        yield public
    elif isinstance(public, type):
        for name, member in vars(public).items():
            function = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isfunction(function):
                yield function


def _fields_of(public: type) -> Iterable[str]:
    """Return the names of the fields of a dataclass, struct or model; none for any other class."""
    if is_dataclass(public):
        return [field.name for field in fields(public)]
    if issubclass(public, Struct):
        return public.__struct_fields__
    if issubclass(public, BaseModel):
        return public.model_fields
    return ()


def types_of_fields(public: Any) -> set[type]:
    """Return the types of this package that the fields of a public class have."""
    if not isinstance(public, type):
        return set()
    hints = get_type_hints(public)
    return {each for name in _fields_of(public) for each in _types_in(hints[name])}


def _public() -> list[Any]:
    return [getattr(crucible_batch, name) for name in crucible_batch.__all__]


def test_every_type_in_a_public_signature_is_exported() -> None:
    public = _public()
    classes = {each for each in public if isinstance(each, type)}
    missing = set()
    for function in (function for each in public for function in _functions_of(each)):
        with suppress(NameError):
            found = {
                each for annotation in _annotations(function) for each in _types_in(annotation)
            }
            missing |= {
                each.__name__ for each in found - classes if not each.__name__.endswith("Call")
            }
    assert missing == set()


def test_every_type_of_a_field_of_a_public_class_is_exported() -> None:
    classes = {each for each in _public() if isinstance(each, type)}
    missing = set()
    for public in classes:
        hints = get_type_hints(public)
        for name in _fields_of(public):
            others = set(_types_in(hints[name])) - classes
            missing |= {f"{public.__name__}.{name}: {each.__name__}" for each in others}
    assert missing == set()
