"""The promises of an output store, as tests that run on every kind of store: local, in memory, and
a real S3 server.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from crucible_batch.core.events import Saved
from crucible_batch.core.provenance import Metadata
from crucible_batch.outputs import FileState, OutputError, OutputStore
from tests.unit.outputs.making import PNG, body, drawn

PATTERN = "job/{index}{ext}"
PATH = "job/0.png"
OTHERS = [drawn("PNG", size=(width, 30)) for width in range(10, 40)]


class Place(Protocol):
    """Where a store keeps its outputs, reached without the store."""

    def store(self, **limits: int) -> OutputStore:
        """Return a new store of the same place, as another process would open it."""

    async def write(self, path: str, content: bytes) -> None: ...

    async def read(self, path: str) -> bytes | None: ...

    async def remove(self, path: str) -> None: ...

    async def names(self) -> list[str]: ...


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def saved(content: bytes, path: str = PATH) -> Saved:
    return Saved(
        at=0.0,
        index=0,
        path=path,
        sha256=sha(content),
        byte_size=len(content),
        mime_type="image/png",
        width=1,
        height=1,
    )


async def save(
    store: OutputStore, content: bytes, pattern: str = PATTERN, token: str = "token", **more: Any
) -> Any:
    return await store.save(pattern, 0, token, body(content), len(content), **more)


class OutputStoreContract:
    """Tests of a fixture ``place``."""

    async def test_a_saved_output_is_complete_and_has_the_name_of_its_true_type(
        self, place: Place
    ) -> None:
        file = await save(place.store(), PNG)
        assert (file.path.as_posix(), file.sha256, file.byte_size) == (PATH, sha(PNG), len(PNG))
        assert await place.read(PATH) == PNG
        assert await place.names() == [PATH]

    async def test_no_name_exists_before_all_bytes_have_come_and_were_checked(
        self, place: Place
    ) -> None:
        seen = list[list[str]]()

        async def slow() -> AsyncIterator[bytes]:
            for start in range(0, len(PNG), 64):
                seen.append(await place.names())
                yield PNG[start : start + 64]
            seen.append(await place.names())

        await place.store().save(PATTERN, 0, "token", slow(), len(PNG))
        assert len(seen) > 2
        assert not any(seen)
        assert await place.names() == [PATH]

    @pytest.mark.parametrize("content", [PNG[:-20], b"<html>503</html>", b""])
    async def test_bytes_that_are_no_complete_picture_get_no_name(
        self, place: Place, content: bytes
    ) -> None:
        with pytest.raises(OutputError):
            await place.store().save(PATTERN, 0, "token", body(content), len(PNG))
        assert await place.names() == []

    async def test_an_output_is_never_replaced(self, place: Place) -> None:
        await place.write(PATH, OTHERS[0])
        with pytest.raises(OutputError) as caught:
            await save(place.store(), PNG)
        assert (caught.value.code, caught.value.final) == ("OUTPUT_EXISTS", True)
        assert await place.read(PATH) == OTHERS[0]
        assert await place.names() == [PATH]

    async def test_the_same_bytes_at_the_path_are_accepted(self, place: Place) -> None:
        await place.write(PATH, PNG)
        file = await save(place.store(), PNG)
        assert (file.path.as_posix(), file.sha256) == (PATH, sha(PNG))
        assert await place.names() == [PATH]

    async def test_with_text_to_embed_the_output_as_sent_is_accepted_too(
        self, place: Place
    ) -> None:
        await place.write(PATH, PNG)
        plain = await save(place.store(), PNG, embed=[Metadata("a text")])
        assert (plain.sha256, plain.sent) == (sha(PNG), None)
        await place.remove(PATH)
        embedded = await save(place.store(), PNG, embed=[Metadata("a text")])
        assert embedded.sent is not None
        assert sha(await place.read(PATH) or b"") == embedded.sha256 != sha(PNG)
        again = await save(place.store(), PNG, embed=[Metadata("a text")])
        assert again.sha256 == embedded.sha256

    async def test_a_taken_path_is_asked_about_once_and_another_is_used(self, place: Place) -> None:
        asked = list[tuple[str, str]]()

        async def find_path(path: str, sha256: str) -> str:
            asked.append((path, sha256))
            return "job/aside.png"

        await place.write(PATH, OTHERS[0])
        file = await save(place.store(), PNG, find_path=find_path)
        assert asked == [(PATH, sha(PNG))]
        assert file.path.as_posix() == "job/aside.png"
        assert await place.read(PATH) == OTHERS[0]
        assert await place.read("job/aside.png") == PNG

    async def test_the_note_is_taken_once_the_output_has_its_name(self, place: Place) -> None:
        noted = list[Any]()
        file = await save(place.store(), PNG, note=lambda file, _folder: noted.append(file))
        assert noted == [file]
        with pytest.raises(OutputError):
            await save(place.store(), OTHERS[0], note=lambda file, _folder: noted.append(file))
        assert noted == [file]

    @pytest.mark.parametrize(
        "pattern",
        [
            "a b/{index}{ext}",
            "größe/語/{index}{ext}",
            "n\u0301/{index}{ext}",
            "a%23b/%2e%2e/{index}{ext}",
            "a#b & c=d;e+f/{index}{ext}",
            "it's (1) [2] ~ ! $ , @/{index}{ext}",
            "a../b..{ext}",
            "x" * 200 + "{ext}",
            "/".join("abcdefghij") + "/{index}{ext}",
        ],
    )
    async def test_unusual_names_are_kept_exactly(self, place: Place, pattern: str) -> None:
        file = await save(place.store(), PNG, pattern)
        assert await place.read(file.path.as_posix()) == PNG
        assert await place.names() == [file.path.as_posix()]
        assert await place.store().is_true(saved(PNG, file.path.as_posix()))

    @pytest.mark.parametrize(
        "pattern", ["../a{ext}", "/a{ext}", "a/../b{ext}", ".crucible/a{ext}", "thumbnails/a{ext}"]
    )
    async def test_names_outside_of_the_run_and_of_its_own_files_are_refused(
        self, place: Place, pattern: str
    ) -> None:
        with pytest.raises(OutputError) as caught:
            await save(place.store(), PNG, pattern)
        assert caught.value.code == "OUTPUT_MISPLACED"
        assert await place.names() == []

    async def test_a_large_output_comes_through_and_a_larger_one_than_allowed_leaves_nothing(
        self, place: Place
    ) -> None:
        large = drawn("BMP", size=(2400, 1600))  # 11 MB
        await save(place.store(), large, "large{ext}")
        assert await place.read("large.bmp") == large
        with pytest.raises(OutputError) as caught:
            await place.store(max_bytes=len(large) - 1).save(
                "larger{ext}", 0, "token", body(large), None
            )
        assert caught.value.code == "OUTPUT_TOO_LARGE"
        assert await place.names() == ["large.bmp"]

    async def test_thirty_at_once_have_one_winner(self, place: Place) -> None:
        codes = set[str]()

        async def one(number: int) -> int | None:
            try:
                await save(place.store(), OTHERS[number], token=f"token-{number}")
            except OutputError as error:
                codes.add(error.code)
                return None
            return number

        found = await asyncio.gather(*(one(number) for number in range(30)))
        winners = [number for number in found if number is not None]
        assert (len(winners), codes) == (1, {"OUTPUT_EXISTS"})
        assert await place.read(PATH) == OTHERS[winners[0]]
        assert await place.names() == [PATH]

    async def test_thirty_at_once_with_the_same_bytes_all_succeed(self, place: Place) -> None:
        found = await asyncio.gather(
            *(save(place.store(), PNG, token=f"token-{number}") for number in range(30))
        )
        assert {file.sha256 for file in found} == {sha(PNG)}
        assert await place.names() == [PATH]

    async def test_a_cancel_at_any_moment_leaves_nothing_or_all_and_the_next_try_succeeds(
        self, place: Place
    ) -> None:
        for steps in range(0, 40, 2):
            task = asyncio.create_task(save(place.store(), PNG))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await place.read(PATH) in {None, PNG}
        await save(place.store(), PNG)
        assert await place.read(PATH) == PNG
        assert await place.names() == [PATH]

    async def test_the_state_of_an_output_is_read_from_its_bytes(self, place: Place) -> None:
        store = place.store()
        assert await store.state(saved(PNG)) is FileState.MISSING
        assert not await store.is_true(saved(PNG))
        await save(store, PNG)
        assert await store.state(saved(PNG)) is FileState.OK
        assert await store.is_true(saved(PNG))
        await place.write(PATH, OTHERS[0])
        assert await store.state(saved(PNG)) is FileState.DAMAGED
        assert not await store.is_true(saved(PNG))
        assert await store.state(saved(PNG, "../0.png")) is FileState.MISPLACED
        assert not await store.is_true(saved(PNG, "../0.png"))

    async def test_an_output_can_be_read(self, place: Place) -> None:
        store = place.store()
        await save(store, PNG)
        with await asyncio.to_thread(store.open, PATH) as file:
            assert file.read() == PNG
        for path in ("job/1.png", "../0.png", "report.json"):
            with pytest.raises(OSError, match=r".*"):
                await asyncio.to_thread(store.open, path)

    async def test_a_missing_output_is_restored(self, place: Place) -> None:
        assert await place.store().restore(PATH, sha(PNG), "token", body(PNG)) is None
        assert await place.read(PATH) == PNG
        assert await place.store().restore(PATH, sha(PNG), "token", body(PNG)) is None
        assert await place.names() == [PATH]

    async def test_a_damaged_output_is_kept_aside_when_it_is_restored(self, place: Place) -> None:
        await place.write(PATH, OTHERS[0])
        kept = f"{PATH}.damaged-{sha(OTHERS[0])[:8]}"
        assert await place.store().restore(PATH, sha(PNG), "token", body(PNG)) == kept
        assert await place.read(PATH) == PNG
        assert await place.read(kept) == OTHERS[0]

    async def test_other_bytes_than_were_saved_restore_nothing(self, place: Place) -> None:
        with pytest.raises(OutputError) as caught:
            await place.store().restore(PATH, sha(PNG), "token", body(OTHERS[0]))
        assert caught.value.code == "OUTPUT_CHANGED"
        assert await place.names() == []

    async def test_an_output_is_moved_by_a_second_name_before_it_loses_the_first(
        self, place: Place
    ) -> None:
        store = place.store()
        await save(store, PNG)
        await store.add_name(PATH, "job/aside.png", sha(PNG))
        await store.add_name(PATH, "job/aside.png", sha(PNG))
        assert await place.names() == [PATH, "job/aside.png"]
        await store.remove_name(PATH, "job/aside.png", sha(PNG))
        assert await place.names() == ["job/aside.png"]
        assert await place.read("job/aside.png") == PNG

    async def test_a_name_that_was_freed_is_that_of_the_next_output(self, place: Place) -> None:
        store = place.store()
        await save(store, PNG)
        await store.add_name(PATH, "job/aside.png", sha(PNG))
        await store.free_name(PATH, "job/aside.png", sha(PNG))
        assert (await save(store, OTHERS[0])).path.as_posix() == PATH
        assert (await place.read(PATH), await place.read("job/aside.png")) == (OTHERS[0], PNG)
        with pytest.raises(OutputError):  # once
            await save(store, OTHERS[1])

    async def test_what_was_put_at_a_freed_name_meanwhile_stays(self, place: Place) -> None:
        store = place.store()
        await save(store, PNG)
        await store.add_name(PATH, "job/aside.png", sha(PNG))
        await store.free_name(PATH, "job/aside.png", sha(PNG))
        if PATH in await place.names():
            await place.remove(PATH)
        await place.write(PATH, OTHERS[0])
        with pytest.raises(OutputError):
            await save(store, OTHERS[1])
        assert await place.read(PATH) == OTHERS[0]

    async def test_a_move_replaces_nothing_and_removes_nothing_else(self, place: Place) -> None:
        store = place.store()
        await save(store, PNG)
        await place.write("job/aside.png", OTHERS[0])
        with pytest.raises(OutputError):
            await store.add_name(PATH, "job/aside.png", sha(PNG))
        await place.write(PATH, OTHERS[1])
        with pytest.raises(OutputError):
            await store.remove_name(PATH, "job/aside.png", sha(PNG))
        assert (await place.read(PATH), await place.read("job/aside.png")) == (OTHERS[1], OTHERS[0])

    @pytest.mark.parametrize("other", [None, OTHERS[0]])
    async def test_an_output_keeps_its_name_unless_it_has_the_second_one(
        self, place: Place, other: bytes | None
    ) -> None:
        store = place.store()
        await save(store, PNG)
        if other is not None:
            await place.write("job/aside.png", other)
        with pytest.raises(OutputError):
            await store.remove_name(PATH, "job/aside.png", sha(PNG))
        assert await place.read(PATH) == PNG

    async def test_a_file_that_was_put_there_meanwhile_keeps_its_name(self, place: Place) -> None:
        store = place.store()
        await save(store, PNG)
        await store.add_name(PATH, "job/aside.png", sha(PNG))
        await place.remove(PATH)
        await place.write(PATH, OTHERS[0])
        with pytest.raises(OutputError, match="was changed while it was moved"):
            await store.remove_name(PATH, "job/aside.png", sha(PNG))
        assert (await place.read(PATH), await place.read("job/aside.png")) == (OTHERS[0], PNG)
