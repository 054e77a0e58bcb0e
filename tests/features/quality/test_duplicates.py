"""Which outputs are copies, by their order and their sources."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.features.quality.duplicates import MOST_COMPARED, Measured, _bucket, copies
from crucible_batch.features.quality.measurements import CELL, COLOURS, GRID, Fingerprint


def fingerprint(cells: bytes, colours: bytes = bytes(3 * COLOURS * COLOURS)) -> Fingerprint:
    return Fingerprint.made_of(cells, colours, 1.0)


def level(value: int) -> Fingerprint:
    """A picture of one brightness."""
    return fingerprint(bytes([value]) * (GRID * GRID))


def measured(*levels: int, **more: object) -> list[Measured]:
    return [
        Measured(place, f"job-{place}", level(value), **more)  # type: ignore[arg-type]
        for place, value in enumerate(levels)
    ]


def always(_one: int, _other: int) -> bool:
    return True


def test_of_two_copies_the_later_one_in_the_manifests_order_is_found() -> None:
    assert list(copies(measured(9, 99, 9, 199, 99), always)) == [(2, 0), (4, 1)]


def test_pictures_that_are_alike_are_copies_only_if_their_comparison_shows_it() -> None:
    assert list(copies(measured(9, 9), lambda _one, _other: False)) == []


def test_a_copy_of_a_copy_is_compared_with_the_first_only() -> None:
    """The second one is left out, so the third one is compared with the first, which it is not
    like."""
    assert list(copies(measured(0, CELL, 2 * CELL), always)) == [(1, 0)]


def test_a_known_copy_is_not_found_again_and_nothing_is_a_copy_of_it() -> None:
    first, second, third = measured(0, CELL, 2 * CELL)
    known = Measured(1, second.name, second.fingerprint, is_known_copy=True)
    assert list(copies([first, known, third], always)) == []


def test_what_is_made_from_an_output_is_not_a_copy_of_it() -> None:
    draft, final, other = measured(9, 9, 9)
    final = Measured(1, "final", final.fingerprint, frozenset({draft.name}))
    assert list(copies([draft, final, other], always)) == [(2, 0)]


def test_no_more_than_some_textures_are_compared_with_one_picture() -> None:
    compared: list[int] = []

    def differs(_one: int, other: int) -> bool:
        compared.append(other)
        return False

    assert list(copies(measured(*[9] * 100), differs)) == []
    assert compared.count(99) == MOST_COMPARED


@given(
    st.binary(min_size=GRID * GRID, max_size=GRID * GRID),
    st.lists(st.integers(-CELL, CELL), min_size=GRID * GRID, max_size=GRID * GRID),
)
def test_fingerprints_that_are_alike_are_in_neighbouring_places(
    cells: bytes, steps: list[int]
) -> None:
    near = bytes(max(0, min(255, cell + step)) for cell, step in zip(cells, steps, strict=True))
    one, other = _bucket(fingerprint(cells)), _bucket(fingerprint(near))
    assert all(abs(first - second) <= 1 for first, second in zip(one, other, strict=True))
