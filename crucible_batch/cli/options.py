"""The options that several commands have, each with its flags, help and parser; and the decorator
of commands."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from functools import partial, wraps
from inspect import Parameter, Signature, cleandoc, getdoc, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from crucible_batch.cli.command_line import refuse_hosts
from crucible_batch.cli.command_output import answering
from crucible_batch.cli.declared_options import option_of, options_from, parameters_of
from crucible_batch.cli.help_text import HelpAll, PlainCommand, epilog, with_everyday
from crucible_batch.cli.option_parsers import option_parser, parse_host, read_credits
from crucible_batch.cli.redaction import hide_key
from crucible_batch.core.run_options import FeatureOptions, ManifestOptions, PlanningOptions
from crucible_batch.errors import ExitCode
from crucible_batch.features import found
from crucible_batch.settings import Settings


class DisplayMode(enum.StrEnum):
    """The progress display of a run."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    NONE = "none"


_PANELS = (
    "Spending",
    "Which jobs",
    "Time and pace",
    "Gateway",
    "Output",
    "Metrics",
    "Notifications",
)
"""The panels of the help of commands with many options, in their order."""

# One for each panel of the help.
_gateway = partial(typer.Option, rich_help_panel="Gateway")
_output = partial(typer.Option, rich_help_panel="Output")

credits_option = partial(typer.Option, metavar="N", parser=option_parser(read_credits))

ManifestOrPlan = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST|PLAN", help="A YAML manifest, or a saved plan.", show_default=False
    ),
]
RunDir = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR",
        help="A run's directory, such as outputs/NAME/default, or its URL.",
        show_default=False,
    ),
]
RunsDir = Annotated[
    Path, typer.Argument(metavar="DIR", help="Directory with runs up to two levels below it.")
]
SaveTo = Annotated[
    Path | None,
    _output(
        "--output",
        "-o",
        metavar="FILE",
        help="Save the plan to FILE, to be executed with `run FILE`.",
    ),
]
Force = Annotated[bool, _output("--force", help="Let -o overwrite a file of another kind.")]

StorageHost = Annotated[
    list[str] | None,
    _gateway(
        "--storage-host",
        metavar="HOST",
        parser=option_parser(parse_host),
        help="Allow storage links to this host in a private network; repeatable.",
    ),
]
NoHtml = Annotated[bool, option_of("html")]
Display = Annotated[DisplayMode, _output("--display", help="Progress display.")]
AllowCommand = Annotated[bool, option_of("allow_command")]
Var = Annotated[list[str] | None, option_of("variables")]


@dataclass(frozen=True, slots=True)
class OfFeatures:
    """Marks the parameter of a command that gets the options which features add to it, each
    feature's as one value.

    ``file`` is the name of the modules that have them: ``Options``, a dataclass; ``EXAMPLES``, and
    ``HELP``, for the help of the command.
    """

    file: str

    @property
    def kinds(self) -> list[type[FeatureOptions]]:
        return [module.Options for module in found(self.file)]


RunFeatures = Annotated[tuple[FeatureOptions, ...], OfFeatures("run_options")]
DemoFeatures = Annotated[tuple[FeatureOptions, ...], OfFeatures("demo_options")]
PlanFeatures = Annotated[tuple[FeatureOptions, ...], OfFeatures("plan_options")]
ReportFeatures = Annotated[tuple[FeatureOptions, ...], OfFeatures("report_options")]

_OUTPUT_OPTIONS = {
    "json": Annotated[bool, _output("--json", help="JSON lines on stdout; messages on stderr.")],
    "quiet": Annotated[bool, _output("--quiet", "-q", help="Print errors only.")],
    "verbose": Annotated[
        bool, _output("--verbose", "-v", help="Verbose output; include the traceback of a bug.")
    ],
}


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    api_base: Annotated[
        str | None,
        _gateway(
            "--api-base",
            metavar="URL",
            help="URL of the gateway.  \\[default: CRUCIBLE_API_BASE, else production]",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        _gateway("--proxy", metavar="URL", help="Proxy URL. HTTP_PROXY variables are ignored."),
    ] = None

    env_file: Annotated[
        Path | None,
        _gateway(
            "--env-file",
            metavar="FILE",
            help="Read the API key and the gateway URL from FILE instead of .env. "
            "The environment takes precedence.",
        ),
    ] = None

    def settings(self, storage_hosts: Sequence[str] | None = None) -> Settings:
        """Return the settings from these options, the environment and ``.env``, read now."""
        # Imported on use, so that --help stays fast.
        from crucible_batch.runs.connecting import current_settings  # noqa: PLC0415

        settings = current_settings(
            base_url=self.api_base,
            proxy=self.proxy,
            storage_hosts=tuple(storage_hosts or ()),
            env_file=self.env_file,
        )
        if self.env_file is not None:
            hide_key(settings.api_key)
        return settings


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API; 0 chooses a free one.")
    ] = 0
    storage_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the storage; 0 chooses a free one.")
    ] = 0
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep all state in this file, across restarts."),
    ] = None
    credits: Annotated[Decimal, credits_option(help="Credits of the account at the start.")] = (
        Decimal(1000)
    )
    upload_price: Annotated[Decimal, credits_option(help="Price of an upload in credits.")] = (
        Decimal("0.5")
    )
    runners: Annotated[
        int, typer.Option(metavar="N", min=1, help="Jobs that run at the same time.")
    ] = 4
    time_scale: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Factor for the duration of jobs; 0 completes them immediately.",
        ),
    ] = 1.0
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of all ids, durations and faults.")
    ] = 0
    faults: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Faults to inject, such as 429:0.1,generate.drop-after=2."
        ),
    ] = ""
    pricing: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Price rules, such as zimage-base.base=3,upload.base=1."),
    ] = ""
    judge: Annotated[
        bool,
        typer.Option(
            "--judge",
            help="At the end, print what was charged; exit with 1 if anything was bought"
            " twice or over the budget.",
        ),
    ] = False
    budget: Annotated[
        Decimal | None, credits_option(help="What the client may spend, for --judge.")
    ] = None
    once: Annotated[
        bool, typer.Option("--once", help="With --judge: no job is wanted more than once.")
    ] = False


def command(
    group: typer.Typer,
    panel: str,
    *examples: str,
    output: str = "json quiet verbose",
    name: str | None = None,
    codes: Collection[ExitCode] = (),
    everyday: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the decorated function as a command to a group of commands.

    It has the name of the function, or ``name``, which for a subcommand is all its words, such as
    ``schedule list``. The function is called with a ``CommandOutput`` and its own options, and what
    it raises is shown; ``answering`` has the details. ``output`` names the options for the
    ``CommandOutput``. Option groups of the signature are replaced by their fields, so that Typer
    sees them as parameters. ``panel``, ``examples`` and ``codes`` are for the help. With
    ``everyday``, ``--help`` shows these parameters only, with these short texts, and ``--help-all``
    shows all.
    """

    def add(body: Callable[..., None]) -> Callable[..., None]:
        words, own = name or body.__name__, _OwnOptions(body)
        parameters = sorted(own.parameters, key=_panel_number)
        shown = {each: (False, _OUTPUT_OPTIONS[each]) for each in output.split()}
        parameters += [_parameter(each, *settings) for each, settings in shown.items()]
        if everyday:
            parameters.append(_parameter("help_all", default=False, annotation=HelpAll))

        @wraps(body)
        def answered(**given: Any) -> None:
            given.pop("help_all", None)
            with answering(words, **{each: bool(given.pop(each)) for each in shown}) as result:
                refuse_hosts()
                body(result, **own.arguments(given))

        vars(answered)["__signature__"] = Signature(parameters)
        answered.__doc__ = "\n".join([getdoc(body) or "", *own.more_help()])
        own_name = None
        if name:
            own_name = name.rpartition(" ")[2]
        own_class = PlainCommand
        if everyday:
            own_class = with_everyday(everyday)
        described = epilog(*examples, *own.more_examples(), codes=codes)
        group.command(own_name, cls=own_class, rich_help_panel=panel, epilog=described)(answered)
        return body

    return add


def _panel_number(parameter: Parameter) -> int:
    """Return where the help shows the panel of an option; 0 for arguments, and for options without
    a panel."""
    for each in getattr(parameter.annotation, "__metadata__", ()):
        if each.rich_help_panel in _PANELS:
            return _PANELS.index(each.rich_help_panel) + 1
    return 0


class _OwnOptions:
    """The options of a command beside those of its output: groups of them, and those that features
    add.
    """

    def __init__(self, body: Callable[..., None]) -> None:
        self.parameters: list[Parameter] = []
        self._groups: dict[str, type] = {}
        self._of_features: dict[str, OfFeatures] = {}
        _output, *own = signature(body, eval_str=True).parameters.values()
        for parameter in own:
            kind = parameter.annotation
            marks = getattr(kind, "__metadata__", ())
            mark = next((each for each in marks if isinstance(each, OfFeatures)), None)
            if mark is not None:
                self._of_features[parameter.name] = mark
                for options in mark.kinds:
                    self.parameters += _parameters_of(options)
            elif isinstance(kind, type) and is_dataclass(kind):
                self._groups[parameter.name] = kind
                if issubclass(kind, PlanningOptions | ManifestOptions):
                    self.parameters += parameters_of(kind)
                else:
                    self.parameters += _parameters_of(kind)
            else:
                self.parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the command, by the values of its parameters."""
        rest = dict(given)

        def take(kind: Any) -> Any:
            values = {field.name: rest.pop(field.name) for field in fields(kind)}
            if issubclass(kind, PlanningOptions | ManifestOptions):
                return options_from(kind, values)
            return kind(**values)

        taken = {name: take(kind) for name, kind in self._groups.items()}
        for name, mark in self._of_features.items():
            taken[name] = tuple(map(take, mark.kinds))
        return {**rest, **taken}

    def more_examples(self) -> Iterator[str]:
        for module in self._modules():
            yield from module.EXAMPLES

    def more_help(self) -> Iterator[str]:
        for module in self._modules():
            if module.HELP:
                yield cleandoc(module.HELP)

    def _modules(self) -> Iterator[Any]:
        for mark in self._of_features.values():
            yield from found(mark.file)


def _parameters_of(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_parameter(each.name, each.default, hints[each.name]) for each in fields(group)]


def _parameter(name: str, default: object, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
