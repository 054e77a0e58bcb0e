"""Compiled entries of ``jobs``, which make one job for each row and combination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from crucible_batch.errors import Problem
from crucible_batch.manifest import names, parameters, validation
from crucible_batch.manifest.combinations import NO_AXES, Combination, Combinations
from crucible_batch.manifest.files import FileFault, Files
from crucible_batch.manifest.job_spec import JobProblems, JobSpec, row_words
from crucible_batch.manifest.manifest import Manifest, ManifestEntry
from crucible_batch.manifest.models import Fields
from crucible_batch.manifest.names import NameClaim, NameClaims, NameFault, text_fault
from crucible_batch.manifest.table_rows import TableRow
from crucible_batch.manifest.template_filters import TemplateFault, Variables
from crucible_batch.manifest.templates import MAX_PROMPT, MAX_VALUE, Json, Templates, is_template
from crucible_batch.manifest.text_field import TextField

MOST_NOTED = 5


class EmptyCells:
    """The empty cells that jobs have used, with notes for the first ``MOST_NOTED`` of them, and one
    for the rest."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0
        self._row = ""
        self._columns: set[str] = set()

    def add(self, row: str, columns: Iterable[str]) -> None:
        """Note the empty cells of a row, which is described by ``row``.

        Jobs of one row must follow each other.
        """
        if row != self._row:
            self._row, self._columns = row, set()
        for column in sorted(set(columns) - self._columns):
            self._columns.add(column)
            self._count += 1
            if len(self._first) < MOST_NOTED:
                self._first.append(
                    f"{row}: the cell in column {column!r} is empty; "
                    "the job is made without its text"
                )

    @property
    def notes(self) -> list[str]:
        more = self._count - len(self._first)
        if not more:
            return self._first
        return [
            *self._first,
            f"{more:,} more cells that jobs use are empty, {self._count:,} in all",
        ]


# A file name has at most 255 bytes; the rest is left for an output's index, its extension and
# ".part".
_MAX_PART_BYTES = 230
MadeJob = tuple[JobSpec | None, Sequence[Problem]]
"""A job, or None and the problems that prevent it."""
_NO_IMAGES: Mapping[str, Path] = MappingProxyType({})


class ExpansionContext:
    """The state shared by all entries of one expansion: compiled templates, files, names taken and
    defaults.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.templates = Templates()
        self.files = Files(manifest.directory, allow_outside=manifest.allow_outside)
        self.empty_cells = EmptyCells()
        self.claims = NameClaims()
        self.workflow = self._shared_workflow()
        self.variables = manifest.variables
        self.is_apart = names.keeps_apart(manifest.header.output.path)
        self._defaults: dict[str, tuple[parameters.Compiled, Sequence[Problem]]] = {}

    def _shared_workflow(self) -> TextField | None:
        """Return the default workflow if it is a literal within the limit; if not, each entry
        reports why."""
        workflow_id = self.manifest.header.workflow or ""
        if is_template(workflow_id):
            return None
        try:
            return TextField(workflow_id, ("workflow",), self.templates)
        except TemplateFault:
            return None

    def defaults(self, workflow_id: str) -> tuple[parameters.Compiled, Sequence[Problem]]:
        """Return the compiled default parameters of a workflow, and the problems of those that
        can't be compiled."""
        known = self._defaults.get(workflow_id)
        if known is not None:
            return known
        manifest, faults = self.manifest, JobProblems()
        made = parameters.Compiled({}, {})
        if workflow_id == manifest.header.workflow:
            params = manifest.header.params
            made = parameters.compiled(
                params, manifest.site, ("params",), self.templates, faults.template
            )
        if workflow_id in manifest.header.workflows:
            path = ("workflows", workflow_id, "params")
            raw = manifest.header.workflows[workflow_id].params
            made = made.under(
                parameters.compiled(raw, manifest.site, path, self.templates, faults.template)
            )
        self._defaults[workflow_id] = made, faults.problems
        return made, faults.problems


class JobTemplate:
    """One compiled entry of ``jobs``.

    ``faults`` are the problems of templates that can't be compiled; if there are any, the entry
    makes no job. ``default_image`` is the template of ``image`` in an entry without one.
    """

    default_image: str | None = None

    def __init__(self, context: ExpansionContext, entry: ManifestEntry) -> None:
        self._context = context
        self._entry = entry
        self.faults = JobProblems()
        job = entry.job
        self._name = self._text(job.name, ("name",))
        self._prompt_is_file = False
        self._prompt = self._prompt_field(job.prompt)
        image = job.image
        if image is None:
            image = self.default_image
        self._image = None
        if image is not None:
            self._image = self._text(image, ("image",))
        self._images = {key: self._text(text, ("images", key)) for key, text in job.images.items()}
        self._workflow = self._workflow_field(job.workflow)
        self._own = parameters.compiled(
            job.params, entry.site, ("params",), context.templates, self.faults.template
        )
        self._file_problems: dict[tuple[tuple[str | int, ...], str], Problem] = {}
        self._merged: dict[str, tuple[parameters.Compiled, Sequence[Problem]]] = {}
        self._fields = _given(job.fields)

    def _prompt_field(self, prompt: str | None) -> TextField | None:
        """Return the text of ``prompt``, or the path after ``@`` if it is in a file.

        ``@@`` begins a text that itself begins with ``@``.
        """
        if prompt is None:
            return None
        if not prompt.startswith("@"):
            return self._text(prompt, ("prompt",), MAX_PROMPT)
        if prompt.startswith("@@"):
            return self._text(prompt[1:], ("prompt",), MAX_PROMPT)
        self._prompt_is_file = True
        return self._text(prompt[1:], ("prompt",), MAX_VALUE)

    def _workflow_field(self, workflow: str | None) -> TextField | None:
        """Return the workflow of the entry, or the manifest's if the entry doesn't name one."""
        if workflow is None and self._context.workflow is not None:
            return self._context.workflow
        written = workflow or self._context.manifest.header.workflow or ""
        return self._text(written, ("workflow",))

    def combinations(self) -> Combinations:
        job = self._entry.job
        matrix = validation.axes_of(job, self._context.manifest.header.matrix)
        if not matrix and not job.zip:
            return NO_AXES
        if self._name is None:  # its template can't be compiled
            return Combinations(matrix, job.zip, ())
        return Combinations(matrix, job.zip, self._name.names)

    def make(self, row: TableRow | None, combination: Combination, repeat: int) -> MadeJob:
        """Return one job, or None and the job's problems in addition to ``faults``."""
        faults = JobProblems(row, self._entry.job.foreach or "")
        blank = self._context.templates.blank
        blank.clear()
        variables = {**self._context.variables, **combination.values, "repeat": repeat}
        if row is not None:
            variables["row"] = row.values
        name = self._full_name(row, combination, repeat, variables, faults)
        if name:
            taken = self._taken(name, row)
            if taken is not None:
                faults.problems.append(taken)
                name = ""
        job = self._made(name, combination, repeat, variables, faults)
        if job is None:
            return None, faults.problems
        if row is None:
            return job, ()
        job.made_for = row
        if blank:
            where = row_words(self._context.manifest.site, self._entry.index, row.number, row.line)
            self._context.empty_cells.add(where, blank)
        return job, ()

    def _made(
        self,
        name: str,
        combination: Combination,
        repeat: int,
        variables: Variables,
        faults: JobProblems,
    ) -> JobSpec | None:
        """Return the job with this name; None if there are problems."""
        context = self._context
        workflow_id = self._rendered(self._workflow, variables, faults)
        prompt = self._prompt_text(variables, faults)
        image = self._file(self._image, variables, faults)
        images = _NO_IMAGES
        if self._images:
            images = self._image_files(variables, faults)
        parameters: Mapping[str, Json] = {}
        output = ""
        if workflow_id:
            parameters = self._parameters(workflow_id, variables, faults)
            if name:
                output = self._output(name, workflow_id, faults)
        if faults.problems or self.faults.problems:
            return None
        return JobSpec(
            name=name,
            workflow_id=workflow_id,
            prompt=prompt,
            image=image,
            images=images,
            params=parameters,
            fields=self._field_names(workflow_id),
            repeat=repeat,
            axes=combination.texts,
            output_pattern=output,
            site=self._entry.site,
            root=context.manifest.site,
            is_on_default=workflow_id == context.manifest.header.workflow,
            is_apart=context.is_apart,
        )

    def _text(
        self, text: str, path: tuple[str | int, ...], limit: int = MAX_VALUE
    ) -> TextField | None:
        try:
            return TextField(text, path, self._context.templates, limit)
        except TemplateFault as fault:
            self.faults.template(self._entry.site, path, fault)
            return None

    def _rendered(self, text: TextField | None, variables: Variables, faults: JobProblems) -> str:
        """Return the rendered text.

        If it fails or is blank, report the problem and return an empty text.
        """
        if text is None:
            return ""
        try:
            rendered = text.render(variables)
        except TemplateFault as fault:
            faults.template(self._entry.site, text.path, fault)
            return ""
        if not rendered or rendered.isspace():
            faults.other(self._entry.site, text.path, "is empty after rendering")
            return ""
        return rendered

    def _full_name(
        self,
        row: TableRow | None,
        combination: Combination,
        repeat: int,
        variables: Variables,
        faults: JobProblems,
    ) -> str:
        """Return the job's name, an empty text if it can't be rendered or isn't usable.

        The problem is then reported here or in the entry's ``faults``.
        """
        rendered = self._rendered(self._name, variables, faults)
        if self._name is None or not rendered:
            return ""
        try:
            names.check(rendered)
        except NameFault as fault:
            faults.other(self._entry.site, ("name",), str(fault))
            return ""
        name = rendered + combination.suffix
        if row is not None and "row" not in self._name.names:
            name += f"-{row.number}"
        if self._entry.job.times > 1:
            name += f"-{repeat}"
        return names.safe(name)

    def _prompt_text(self, variables: Variables, faults: JobProblems) -> str | None:
        if self._prompt is None:
            return None
        rendered = self._rendered(self._prompt, variables, faults)
        if not self._prompt_is_file or not rendered:
            return rendered
        site = self._entry.site
        try:
            text = self._context.files.prompt(rendered)
        except FileFault as fault:
            faults.file(site, ("prompt",), fault)
            return None
        try:
            if is_template(text):
                text = self._context.templates.compile(text).text(variables, MAX_PROMPT)
        except TemplateFault as fault:
            faults.prompt_file(site, self._context.files.find(rendered), fault)
            return None
        if not text.strip():
            faults.other(site, ("prompt",), f"{rendered!r} is empty")
        return text

    def _image_files(self, variables: Variables, faults: JobProblems) -> Mapping[str, Path]:
        found = {key: self._file(text, variables, faults) for key, text in self._images.items()}
        return {key: path for key, path in found.items() if path is not None}

    def _file(
        self, text: TextField | None, variables: Variables, faults: JobProblems
    ) -> Path | None:
        if text is None:
            return None
        rendered = self._rendered(text, variables, faults)
        if not rendered:
            return None
        return self._found(text, rendered, faults)

    def _found(self, text: TextField, rendered: str, faults: JobProblems) -> Path | None:
        """Return the file with a rendered path; None if there is a problem, which is reported."""
        try:
            return self._context.files.find(rendered)
        except FileFault as fault:
            self._add_once(faults, text, rendered, fault)
            return None

    def _add_once(
        self, faults: JobProblems, text: TextField, rendered: str, fault: FileFault
    ) -> None:
        """Add the problem of a file.

        Further jobs have that of the first one, so that it is reported once.
        """
        known = self._file_problems.get((text.path, rendered))
        if known is not None:
            faults.problems.append(known)
            return
        faults.file(self._entry.site, text.path, fault)
        self._file_problems[text.path, rendered] = faults.problems[-1]

    def _parameters(
        self, workflow_id: str, variables: Variables, faults: JobProblems
    ) -> Mapping[str, Json]:
        if workflow_id not in self._merged:
            defaults, problems = self._context.defaults(workflow_id)
            self._merged[workflow_id] = defaults.under(self._own), problems
        merged, problems = self._merged[workflow_id]
        faults.problems.extend(problems)
        before = len(faults.problems)
        values = merged.render(variables, faults.template)
        batch = merged.rendered.get(validation.BATCH_SIZE)
        is_rendered = len(faults.problems) == before
        if batch and is_rendered and not validation.is_batch_of_one(values[validation.BATCH_SIZE]):
            faults.problems.append(validation.batch_size_problem(*batch))
        return values

    def _field_names(self, workflow_id: str) -> Mapping[str, str]:
        defaults = self._context.manifest.header.workflows.get(workflow_id)
        if defaults is None:
            return self._fields
        return {**_given(defaults.fields), **self._fields}

    def _output(self, name: str, workflow_id: str, faults: JobProblems) -> str:
        manifest = self._context.manifest
        pattern = names.filled(manifest.header.output.path, workflow_id).replace("{name}", name)
        place = ("output", "path")
        if _has_long_part(pattern):
            message = f"a file name in it is too long with the job name {name!r}"
            faults.other(manifest.site, place, message)
            return pattern
        fault = text_fault(pattern)
        if fault is not None:
            faults.other(manifest.site, place, f"{pattern!r} {fault[0]}", hint=fault[1])
        return pattern

    def _taken(self, name: str, row: TableRow | None) -> Problem | None:
        """Claim ``name`` for a job and return None, or return the problem if another job has it."""
        index = self._entry.index
        number = line = 0
        if row is not None:
            number, line = row.number, row.line
        claim = self._context.claims.take(names.folded(name), name, index, number, line)
        if claim is None:
            return None
        ours = row_words(self._context.manifest.site, index, number, line)
        if claim.entry == index:
            message, hint = self._same_entry(name, ours, claim)
        else:
            message, hint = self._other_entry(name, ours, claim)
        problem = self._entry.site.problem(("name",), message, hint=hint)
        if row is None:
            return problem
        return replace(problem, row=row.place)

    def _same_entry(self, name: str, ours: str, claim: NameClaim) -> tuple[str, str]:
        """Return message and hint for a name that another job of this entry has.

        ``ours`` is the row of the job in words, empty without a row.
        """
        theirs = row_words(self._context.manifest.site, claim.entry, claim.row, claim.line)
        rows = "; ".join(dict.fromkeys(words for words in (theirs, ours) if words))
        message = f"two jobs of this entry are named {name!r}"
        if rows:
            message += f": {rows}"
        hint = (
            "use columns or axes that differ in `name`, or `repeat` for several images of one job"
        )
        return message, hint

    def _other_entry(self, name: str, ours: str, claim: NameClaim) -> tuple[str, str]:
        """Return message and hint for a name that a job of another entry has; ``ours`` as above."""
        root = self._context.manifest.site
        other = root.place(("jobs", claim.entry, "name"))
        at = f"line {other.line}, column {other.column}"
        theirs = row_words(root, claim.entry, claim.row, claim.line)
        if theirs:
            at += f", {theirs}"
        named = f"the name {name!r}"
        if ours:
            named += f" of {ours}"
        hint = "give one of them another name"
        if claim.name != name:
            hint += (
                f"; {claim.name!r} counts as the same name, "
                "since a file system may not distinguish them"
            )
        return f"{named} is already used by the job at {at}", hint


def _has_long_part(pattern: str) -> bool:
    if len(pattern) <= _MAX_PART_BYTES // 4:  # fast path: a character has at most 4 bytes
        return False
    return any(len(part.encode()) > _MAX_PART_BYTES for part in pattern.split("/"))


def _given(fields: Fields) -> dict[str, str]:
    if fields.prompt is None and fields.image is None:  # fast path for almost all
        return {}
    return {
        key: name
        for key, name in (("prompt", fields.prompt), ("image", fields.image))
        if name is not None
    }
