"""The planner: from the manifest's jobs, their images and workflows to planned jobs or problems."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from crucible_batch.core.filled_fields import DERIVED, FilledFields
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo, Workflow
from crucible_batch.core.identity import Json, job_identity, of_generation
from crucible_batch.core.output_path import RESERVED_NAMES, first_output_pattern, fold_path
from crucible_batch.core.parameter_info import IMAGE_FIELDS, PROMPT_FIELDS
from crucible_batch.core.plan import (
    DERIVED_JOB_INVALID,
    InputImage,
    PlannedJob,
    SourceOutput,
    placeholder_identity,
    row_texts,
)
from crucible_batch.errors import Problem
from crucible_batch.manifest import JobSpec, NameClaim, NameClaims, Source

ReadImage = Callable[[Path], InputImage | str]
"""Returns the image at a path, or a description of its problem. Called for each use; the planner
doesn't cache it."""

OutputKey = tuple[str, int]
"""An output: the name of its job, and its number."""


class ParameterFiller(Protocol):
    """Fills a parameter of jobs with a value that follows from their identity.

    The identity is taken with a marker in place of the value.
    """

    @property
    def marker(self) -> Json:
        """Return what stands in identities for the value."""

    def parameter(
        self, spec: JobSpec, listed: Sequence[str] | None, given: Set[str], former: str | None
    ) -> str | Problem | None:
        """Return the parameter of a job to fill, or why there is none; None: nothing is filled.

        ``listed`` are the workflow's parameters: empty if it lists none, None if it could not be
        read. ``given`` have a value already, ``former`` was filled in the former plan.
        """

    def value(self, identity: str) -> Json:
        """Return the value, which is another one for each generation."""

    def problem(self, spec: JobSpec, message: str) -> Problem:
        """Return a problem of a value that the workflow does not allow."""


class Planner:
    """Converts the manifest's jobs to planned jobs, in order.

    ``workflows`` are those whose metadata could be read; for others, parameter names are not
    checked. A claim is kept in memory for each job and, unless its name makes its paths unique, for
    each output path.

    ``owners`` has the outputs from which jobs of the former plan were made, by the identities of
    these jobs. With ``duplicates: each``, a job from one of them keeps its identity: in which order
    equal outputs are saved is chance, and a later stage may be made from it. ``filled`` are the
    parameters that were filled in the former plan: they are filled again, unless the workflow lists
    its parameters without them. ``filler`` fills a further one.
    """

    def __init__(
        self,
        *,
        manifest_name: str,
        run_id: str,
        duplicates: str,
        workflows: Mapping[str, Workflow],
        read_image: ReadImage,
        owners: Mapping[str, OutputKey] = MappingProxyType({}),
        filled: FilledFields = MappingProxyType({}),
        filler: ParameterFiller | None = None,
    ) -> None:
        self._manifest_name = manifest_name
        self._run_id = run_id
        self._duplicates = duplicates
        self._workflows = workflows
        self._read_image = read_image
        self._owners = owners
        self._filled = filled
        self._filler = filler
        self._position = 0
        self._identities = NameClaims()
        self._outputs = NameClaims()
        self._leading = NameClaims()

    def plan(self, specs: Iterable[JobSpec | Problem]) -> Iterator[PlannedJob | Problem]:
        """Yield a planned job, or its problems, for each job.

        Problems in ``specs`` are passed through. With ``duplicates: once``, a duplicate yields
        nothing. A job that can't be made because of its source's output, or because another job is
        equal to it, is yielded with its ``obstacle``.
        """
        for item in specs:
            if isinstance(item, Problem):
                yield item
                continue
            problems: list[Problem] = []
            planned = self._plan_one(item, problems)
            if planned is not None:
                yield planned
            else:
                yield from problems

    def _plan_one(self, spec: JobSpec, problems: list[Problem]) -> PlannedJob | None:
        """Return the planned job.

        Returns None if problems were added or it is a duplicate to be dropped.
        """
        # Problems that depend on the bytes of a source, or on which of several sources was
        # finished first.
        of_data: list[Problem] = []
        own = problems
        if spec.source is not None and not spec.source.is_expected:
            own = of_data
        params, images = self._parameters(spec, problems, own)
        markers = self._markers(spec, params, problems)
        identity = None
        if images is not None:
            identity = self._identity(spec, {**params, **markers}, images, own)
        if identity is None and self._duplicates == "once" and not own:
            return None  # a dropped job writes no output
        own.extend(each for each in (spec.collision, self._claim_output(spec)) if each is not None)
        if problems:
            return None
        if of_data:
            return self._blocked(spec, params, of_data[0])
        if identity is None or images is None:
            return None
        params |= self._derived(spec, markers, identity, problems)
        if problems:
            return None
        planned = self._made(spec, identity, params, images, markers)
        self._position += not planned.is_expected
        return planned

    def _made(
        self,
        spec: JobSpec,
        identity: str,
        params: Mapping[str, Json],
        images: Mapping[str, InputImage],
        markers: Mapping[str, Json],
    ) -> PlannedJob:
        row: Mapping[str, str] = {}
        if spec.made_for is not None:
            row = row_texts(spec.made_for.values)
        source = None
        if spec.source is not None:
            source = source_output(spec.source)
        return PlannedJob(
            position=self._position,
            identity=identity,
            name=spec.name,
            workflow_id=spec.workflow_id,
            params=params,
            images=images,
            prompt=spec.prompt,
            axes=spec.axes,
            repeat=spec.repeat,
            output=spec.output_pattern,
            row=row,
            source=source,
            entry=spec.entry,
            markers=markers,
        )

    def _blocked(self, spec: JobSpec, params: Mapping[str, Json], problem: Problem) -> PlannedJob:
        """Return a job that can't be started. Its identity is not that of any request."""
        parts = (
            self._manifest_name,
            self._run_id,
            str(spec.entry),
            spec.name,
            str(spec.source),
            str(spec.copy),
        )
        error = ErrorInfo(DERIVED_JOB_INVALID, problem.message, problem.hint)
        blocked = self._made(spec, placeholder_identity(*parts), params, {}, {})
        return replace(blocked, obstacle=error)

    # -- parameters --------------------------------------------------------------------------

    def _parameters(
        self, spec: JobSpec, problems: list[Problem], of_source: list[Problem]
    ) -> tuple[dict[str, Json], dict[str, InputImage] | None]:
        """Return parameters and images, even if problems were added.

        Images are None if any can't be read. That a source's output can't be an input image is
        added to ``of_source``.
        """
        known = self._known_fields(spec.workflow_id)
        params: dict[str, Json] = dict(spec.params)
        sources = {name: (f"images.{name}", path) for name, path in spec.images.items()}
        """The field of the job that names each image, and the image's path, by parameter."""
        if known is not None:
            named = {name: f"params.{name}" for name in params}
            named |= {name: source for name, (source, _) in sources.items()}
            unlisted = (name for name in named if name not in known)
            problems.extend(_unknown_parameter(spec, name, named[name], known) for name in unlisted)
            problems.extend(self._value_problems(spec))
        if spec.prompt is not None:
            name = self._field_for(spec, "prompt", PROMPT_FIELDS, problems)
            if name in params:
                problems.append(_given_twice(spec, "prompt", name))
            params.setdefault(name, spec.prompt)
        if spec.image is not None:
            name = self._field_for(spec, "image", IMAGE_FIELDS, problems)
            if name in sources:
                problems.append(_given_twice(spec, "image", name))
            sources.setdefault(name, ("image", spec.image))
        problems.extend(
            _given_twice(spec, source, name)
            for name, (source, _) in sources.items()
            if name in params
        )
        images: dict[str, InputImage] = {}
        for name, (source, path) in sources.items():
            is_output = spec.source is not None and path == spec.source.output.file
            image = self._image(spec, path, is_output=is_output)
            if not isinstance(image, str):
                images[name] = image
                continue
            problem = spec.problem(source, f"{path.name} {image}", of_row=True)
            if is_output:
                of_source.append(problem)
            else:
                problems.append(problem)
        if len(images) < len(sources):
            return params, None
        return params, images

    def _image(self, spec: JobSpec, path: Path, *, is_output: bool) -> InputImage | str:
        """Return an image, or why it can't be read; ``is_output``: it is that of the source."""
        if is_output and spec.is_expected:
            return _expected_image(spec)
        return self._read_image(path)

    def _value_problems(self, spec: JobSpec) -> Iterator[Problem]:
        """Yield a problem for each value that the workflow's metadata does not allow."""
        facts = self._workflows[spec.workflow_id].parameters
        for name, value in spec.params.items():
            if name not in facts:
                continue
            fault = facts[name].fault(value)
            if fault is not None:
                hint = f"crucible-batch workflows {spec.workflow_id} lists what it takes"
                yield spec.problem(f"params.{name}", f"{name} {fault}", hint=hint)

    def _field_for(
        self,
        spec: JobSpec,
        source: str,
        candidates: Sequence[str],
        problems: list[Problem],
    ) -> str:
        """Return the parameter that ``prompt:`` or ``image:`` fills.

        It is the one in ``fields:``, else that of the former plan, else the first known candidate.
        If there is none, a problem is added and a placeholder that isn't a parameter's name is
        returned.
        """
        known = self._known_fields(spec.workflow_id)
        chosen = spec.fields.get(source)
        if chosen is not None and known is not None and chosen not in known:
            problems.append(_unknown_parameter(spec, chosen, f"fields.{source}", known))
            return f"fields.{source}"
        former = self._filled.get(spec.workflow_id, {}).get(source)
        wanted = (name for name in (chosen, former, *candidates) if name is not None)
        found = next((name for name in wanted if known is None or name in known), None)
        if found is None:
            wanted_names, listed_names = " or ".join(candidates), ", ".join(known or ())
            example = f"workflows: {{{spec.workflow_id}: {{fields: {{{source}: ...}}}}}}"
            problems.append(
                spec.problem(
                    source,
                    f"workflow {spec.workflow_id!r} does not list a parameter {wanted_names}",
                    hint=f"name the parameter: {example}; the workflow lists {listed_names}",
                )
            )
        return found or f"fields.{source}"

    def _known_fields(self, workflow_id: str) -> tuple[str, ...] | None:
        workflow = self._workflows.get(workflow_id)
        if workflow is None:
            return None
        # A workflow that lists no fields is treated as one without metadata: all fields are
        # optional in the contract.
        return workflow.fields or None

    def _markers(
        self, spec: JobSpec, params: Mapping[str, Json], problems: list[Problem]
    ) -> dict[str, Json]:
        """Return what stands in the identity for the value that follows from it, by parameter."""
        if self._filler is None:
            return {}
        workflow = self._workflows.get(spec.workflow_id)
        listed = None if workflow is None else workflow.fields or ()
        former = self._filled.get(spec.workflow_id, {}).get(DERIVED)
        name = self._filler.parameter(spec, listed, params.keys() | spec.images.keys(), former)
        if isinstance(name, Problem):
            problems.append(name)
            return {}
        return {} if name is None else {name: self._filler.marker}

    def _derived(
        self, spec: JobSpec, markers: Mapping[str, Json], identity: str, problems: list[Problem]
    ) -> dict[str, Json]:
        """Return the values that follow from a job's identity."""
        if self._filler is None or not markers:
            return {}
        value = self._filler.value(identity)
        workflow = self._workflows.get(spec.workflow_id)
        for name in markers:
            facts = None if workflow is None else workflow.parameters.get(name)
            fault = None if facts is None else facts.fault(value)
            if fault is not None:
                problems.append(self._filler.problem(spec, f"{name} {fault}"))
        return dict.fromkeys(markers, value)

    def of_generation(self, planned: PlannedJob, generation: int) -> PlannedJob:
        """Return a generation of a job, with the values that follow from its identity."""
        identity = of_generation(planned.identity, generation)
        params = dict(planned.params)
        if self._filler is not None and planned.markers:
            params |= dict.fromkeys(planned.markers, self._filler.value(identity))
        return replace(planned, identity=identity, params=params)

    # -- identity and output -----------------------------------------------------------------

    def _identity(
        self,
        spec: JobSpec,
        params: Mapping[str, Json],
        images: Mapping[str, InputImage],
        problems: list[Problem],
    ) -> str | None:
        """Return the job's identity.

        Returns None if it is a duplicate or the identity can't be computed.
        """
        digests = {name: image.spec.sha256 for name, image in images.items()}
        identity_of = partial(
            job_identity,
            manifest=self._manifest_name,
            run_id=self._run_id,
            workflow_id=spec.workflow_id,
            params=params,
            images=digests,
        )
        try:
            repeat = self._kept_repeat(spec, identity_of)
            while True:
                identity = identity_of(repeat=repeat)
                claimed = spec.claim(self._identities, identity)
                if claimed is None:
                    return identity
                if self._duplicates == "once":
                    return None
                if self._duplicates == "error":
                    problems.append(_duplicate(spec, claimed))
                    return None
                repeat += 1
        except (ValueError, TypeError) as error:
            problems.append(spec.problem("params", str(error)))
            return None

    def _kept_repeat(self, spec: JobSpec, identity_of: Callable[..., str]) -> int:
        """Return the repeat index of the job in the former plan, its own if it wasn't there."""
        if spec.source is None or self._duplicates != "each" or not self._owners:
            return spec.repeat
        own = (spec.source.job.name, spec.source.output.index)
        for repeat in itertools.count(spec.repeat):
            identity = identity_of(repeat=repeat)
            owner = self._owners.get(identity)
            if owner is None:
                break
            if owner == own and spec.claim(self._identities, identity) is None:
                return repeat
        return spec.repeat

    def _claim_output(self, spec: JobSpec) -> Problem | None:
        pattern = spec.output_pattern
        folded = fold_path(pattern)
        if folded.partition("/")[0] in RESERVED_NAMES:
            return spec.problem("name", f"{pattern!r} is reserved for the run's own files")
        fault = _sidecar_fault(folded)
        if fault is not None:
            return spec.problem("name", f"{pattern!r} {fault}", hint="end output.path with {ext}")
        if spec.is_apart:
            return None
        claimed = spec.claim(self._outputs, folded)
        if claimed is None:
            return self._claim_leading(spec, folded)
        place = spec.place_of_claim(claimed, "name")
        return spec.problem(
            "name",
            f"{spec.name!r}{spec.own_row} and {claimed.name!r} ({place}) "
            f"would write the same file {pattern!r}",
            hint="names that differ only in case collide on some file systems",
            of_row=True,
        )

    def _claim_leading(self, spec: JobSpec, folded: str) -> Problem | None:
        """Return a problem for names such as ``a`` and ``a-1``.

        Without ``{index}``, ``a``'s second output is ``a-1``. This is checked when planning, since
        the number of outputs is known only after they are paid for.
        """
        taken = self._leading.get(folded)
        leading = first_output_pattern(folded)
        if leading is not None:
            spec.claim(self._leading, leading)
            taken = taken or self._outputs.get(leading)
        if taken is None:
            return None
        return spec.problem(
            "name",
            f"{spec.name!r}{spec.own_row} and {taken.name!r}"
            f" ({spec.place_of_claim(taken, 'name')}) may write the same file:"
            " a second output gets the suffix -1, a third -2",
            hint="add {index} to output.path",
            of_row=True,
        )


def source_output(source: Source) -> SourceOutput:
    """Return the output as plans and reports have it.

    It has no path if the output is only expected, since its path would be a guess.
    """
    output = source.output
    path = None if source.is_expected else output.path
    return SourceOutput(source.job.name, output.index, path, output.sha256)


def _expected_image(spec: JobSpec) -> InputImage:
    """Return the image of an expected output, with a unique text in place of its digest."""
    assert spec.source is not None
    source, output = spec.source.job, spec.source.output
    digest = f"expected:{source.name}/{output.index}"
    return InputImage(
        AssetSpec(sha256=digest, byte_size=0, mime_type="image/png", filename=""), output.file
    )


def _sidecar_fault(output: str) -> str | None:
    """Return why a folded output path conflicts with sidecars; None if it doesn't.

    A sidecar has the output's name plus ``.json``.
    """
    if output.endswith(".json"):
        return "ends in .json, which is reserved for sidecar files"
    if f"{output}.json" in RESERVED_NAMES:
        return f"would have the sidecar {output}.json, which is one of the run's own files"
    return None


@lru_cache(maxsize=1000)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    """Return the closest known name.

    Cached, since a mistake in the manifest's defaults recurs in every job.
    """
    matches = difflib.get_close_matches(name, known, n=1)
    return matches[0] if matches else None


def _unknown_parameter(spec: JobSpec, name: str, source: str, known: tuple[str, ...]) -> Problem:
    return spec.problem(
        source,
        f"workflow {spec.workflow_id!r} has no parameter {name!r}",
        nearest=_nearest(name, known),
        hint=f"its parameters are {', '.join(known)}",
    )


def _given_twice(spec: JobSpec, source: str, name: str) -> Problem:
    return spec.problem(source, f"sets {name!r}, which is also set as a parameter")


def _duplicate(spec: JobSpec, claimed: NameClaim) -> Problem:
    hint = "for several images of one prompt, set repeat: N; otherwise set duplicates: once or each"
    if spec.source is not None:
        hint = "their sources have the same bytes; set duplicates: once or each"
    return spec.problem(
        "name",
        f"{spec.name!r}{spec.own_row} is the same request as {claimed.name!r} "
        f"({spec.place_of_claim(claimed)})",
        hint=hint,
        of_row=True,
    )
