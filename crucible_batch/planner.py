"""The planner: wanted jobs + images + workflows -> the jobs of a plan, or every problem that stands in the way."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from crucible_batch.core.answers import Workflow
from crucible_batch.core.identity import Json, job_identity
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.errors import Place, Problem
from crucible_batch.manifest import Wanted

RESERVED_NAMES = frozenset({"report.json", "report.html", "receipts.jsonl", "thumbnails", ".crucible"})
"""What else may stand at the top of a run directory."""

PROMPT_FIELDS = ("prompt.text", "prompt.value", "prompt")
IMAGE_FIELDS = ("image.image", "image.value", "image")

ReadImage = Callable[[Path], InputImage | str]
"""Returns the image at a path, or what is wrong with it. Called once for each mention; caching is the caller's."""


class Planner:
    """Turns wanted jobs into planned ones, in order.

    ``workflows`` are those whose metadata could be read; for one that is not among them the parameter names are taken
    as the manifest has them. Keeps a digest of each job and output path, nothing else.
    """

    def __init__(
        self,
        *,
        manifest_name: str,
        run_id: str,
        duplicates: str,
        workflows: Mapping[str, Workflow],
        read_image: ReadImage,
    ) -> None:
        self._manifest_name = manifest_name
        self._run_id = run_id
        self._duplicates = duplicates
        self._workflows = workflows
        self._read_image = read_image
        self._position = 0
        self._identities: dict[bytes, tuple[str, Place]] = {}
        self._outputs: dict[bytes, tuple[str, Place]] = {}

    def plan(self, wanted: Iterable[Wanted | Problem]) -> Iterator[PlannedJob | Problem]:
        """Yield a planned job, or the problems that keep it from being one, for each that is wanted."""
        for item in wanted:
            if isinstance(item, Problem):
                yield item
                continue
            yield from self._plan_one(item)

    def _plan_one(self, wanted: Wanted) -> Iterator[PlannedJob | Problem]:
        problems: list[Problem] = []
        params, images = self._parameters(wanted, problems)
        identity = None if problems else self._identity(wanted, params, images, problems)
        if problems or identity is None:
            yield from problems
            return
        planned = PlannedJob(
            position=self._position,
            identity=identity,
            name=wanted.name,
            workflow_id=wanted.workflow_id,
            params=params,
            images=images,
            prompt=wanted.prompt,
            axes=wanted.axes,
            repeat=wanted.repeat,
            output=wanted.output_pattern,
        )
        collision = self._claim_output(wanted)
        if collision is not None:
            yield collision
            return
        self._position += 1
        yield planned

    # -- parameters -------------------------------------------------------------------------------------------------

    def _parameters(self, wanted: Wanted, problems: list[Problem]) -> tuple[dict[str, Json], dict[str, InputImage]]:
        known = self._known_fields(wanted.workflow_id)
        params: dict[str, Json] = dict(wanted.params)
        unknown = [] if known is None else [name for name in params if name not in known]
        problems.extend(_unknown_parameter(wanted, name, f"params.{name}", known or ()) for name in unknown)
        if wanted.prompt is not None:
            name = self._field_for(wanted, "prompt", PROMPT_FIELDS, problems)
            if name in params:
                problems.append(_given_twice(wanted, "prompt", name))
            elif name is not None:
                params[name] = wanted.prompt
        images = self._images(wanted, known, problems)
        problems.extend(_given_twice(wanted, f"images.{name}", name) for name in images if name in params)
        return params, images

    def _images(self, wanted: Wanted, known: tuple[str, ...] | None, problems: list[Problem]) -> dict[str, InputImage]:
        sources = {name: (f"images.{name}", path) for name, path in wanted.images.items()}
        if known is not None:
            problems.extend(
                _unknown_parameter(wanted, name, source, known)
                for name, (source, _) in sources.items()
                if name not in known
            )
        if wanted.image is not None:
            name = self._field_for(wanted, "image", IMAGE_FIELDS, problems)
            if name in sources:
                problems.append(_given_twice(wanted, "image", name))
            elif name is not None:
                sources[name] = ("image", wanted.image)
        images: dict[str, InputImage] = {}
        for name, (source, path) in sources.items():
            image = self._read_image(path)
            if isinstance(image, str):
                problems.append(wanted.problem(source, f"{path.name} {image}"))
            else:
                images[name] = image
        return images

    def _field_for(self, wanted: Wanted, source: str, candidates: Sequence[str], problems: list[Problem]) -> str | None:
        """Find the parameter that ``prompt:`` or ``image:`` fills: ``fields:`` first, else the first that is listed."""
        known = self._known_fields(wanted.workflow_id)
        chosen = wanted.fields.get(source)
        if chosen is not None:
            if known is None or chosen in known:
                return chosen
            problems.append(_unknown_parameter(wanted, chosen, f"fields.{source}", known))
            return None
        if known is None:
            return candidates[0]
        found = next((name for name in candidates if name in known), None)
        if found is None:
            problems.append(
                wanted.problem(
                    source,
                    f"workflow {wanted.workflow_id!r} lists none of {', '.join(candidates)} for it",
                    hint=f"name the parameter: workflows: {{{wanted.workflow_id}: {{fields: {{{source}: ...}}}}}};"
                    f" it lists {', '.join(known)}",
                )
            )
        return found

    def _known_fields(self, workflow_id: str) -> tuple[str, ...] | None:
        workflow = self._workflows.get(workflow_id)
        # A workflow that lists nothing at all says nothing: every field is optional, and one without any is none.
        return (workflow.fields or None) if workflow is not None else None

    # -- identity and output ----------------------------------------------------------------------------------------

    def _identity(
        self,
        wanted: Wanted,
        params: Mapping[str, Json],
        images: Mapping[str, InputImage],
        problems: list[Problem],
    ) -> str | None:
        """Return the job's identity; None where it is dropped as a duplicate that is wanted once."""
        repeat = wanted.repeat
        digests = {name: image.spec.sha256 for name, image in images.items()}
        while True:
            try:
                identity = job_identity(
                    manifest=self._manifest_name,
                    run_id=self._run_id,
                    workflow_id=wanted.workflow_id,
                    params=params,
                    images=digests,
                    repeat=repeat,
                )
            except (ValueError, TypeError) as error:
                problems.append(wanted.problem("params", str(error)))
                return None
            claimed = self._identities.setdefault(bytes.fromhex(identity), (wanted.name, wanted.place("")))
            if claimed[0] == wanted.name:
                return identity
            if self._duplicates == "once":
                return None
            if self._duplicates == "error":
                problems.append(_duplicate(wanted, claimed))
                return None
            repeat += 1

    def _claim_output(self, wanted: Wanted) -> Problem | None:
        folded = unicodedata.normalize("NFKC", wanted.output_pattern).casefold()
        if folded.split("/")[0] in RESERVED_NAMES:
            return wanted.problem("name", f"{wanted.output_pattern!r} is where the run keeps its own files")
        digest = blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        name, place = self._outputs.setdefault(digest, (wanted.name, wanted.place("name")))
        if name == wanted.name:
            return None
        return wanted.problem(
            "name",
            f"{wanted.name!r} and {name!r} ({place}) would write the same file {wanted.output_pattern!r}",
            hint="names that differ in nothing but case collide on some disks",
        )


def _unknown_parameter(wanted: Wanted, name: str, source: str, known: Sequence[str]) -> Problem:
    nearest = difflib.get_close_matches(name, known, n=1)
    return wanted.problem(
        source,
        f"workflow {wanted.workflow_id!r} has no parameter {name!r}",
        nearest=nearest[0] if nearest else None,
        hint=f"it lists {', '.join(known)}",
    )


def _given_twice(wanted: Wanted, source: str, name: str) -> Problem:
    return wanted.problem(source, f"fills {name!r}, which is given as a parameter too")


def _duplicate(wanted: Wanted, claimed: tuple[str, Place]) -> Problem:
    name, place = claimed
    return wanted.problem(
        "name",
        f"{wanted.name!r} asks for the very same thing as {name!r} ({place})",
        hint="for several pictures of one prompt write repeat: N; or set duplicates: once, or each",
    )
