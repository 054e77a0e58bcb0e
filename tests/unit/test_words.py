"""Banned words: texts that a person reads use standard technical English.

Checked are the Markdown pages, manifests, the Makefile, ``--help``, the page templates and their
scripts, and the strings, docstrings and comments of the package; not its identifiers.
``docs/errors.md`` has the texts of ``explain``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer.main

from crucible_batch.cli.app import app
from tests.harness.case_table import each_case
from tests.harness.command_tree import all_commands

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "crucible_batch"

BANNED = (
    # pattern, what to write instead
    (
        r"h(?:old|olds|eld|olding)\b[^.;:|]{0,40}?\bagainst",
        "compare with, check against, reconcile with",
    ),
    (r"(?:go|goes|going|went|gone) on", "continue, resume; in progress; happen"),
    (r"says?|saying|said", "print, show, report, state; Return (in a docstring)"),
    (r"tells?|told|telling", "show, report, inform; distinguish"),
    (r"(?:what|has|have|had|each|the) move[ds]?(?= since|[.,;:]|$)", "changed, differences"),
    (r"what (?:has |had )?moved", "what changed"),
    (r"anew", "again; new"),
    (r"without a word", "silently, without a message"),
    (r"at once", "immediately; at the same time"),
    (r"somebody|whoever", "a user, a process, the holder: name who"),
    (r"(?:for|to) who(?! \w+ed\b)", "for the user who"),
    (r"unasked", "without asking; without being submitted"),
    (
        r"(?<!there )(?:is|are|was|were) no(?! (?:longer|more|less|later|other|way|one)\b)",
        "is not a; has no",
    ),
    (r"(?<!there )(?:is|are|was|were) (?-i:none)", "is not; there is none"),
    (
        r"(?:names?|needs?|has|have|had|makes?|takes?|gives?|gave|holds?|knows?|wants?) (?-i:none)",
        "has no X",
    ),
    (r"let(?:s|ting)? go of", "release"),
    (r"sees? to (?:it|its|that|the)", "check, fix; ensure that"),
    (r"look(?:s|ed|ing)? at", "poll, check, inspect, read"),
    (
        r"what (?:has |had )?(?:came|become|becomes|became|comes) of",
        "the result of, the outcome of",
    ),
    (r"(?:came|comes|come) to nothing", "failed"),
    (r"(?:our|its|their|the|these|two) books", "the ledger"),
    (r"for nothing", "at no cost; in vain"),
    (r"for want of", "because of missing, for lack of"),
    (r"be had", "be downloaded, be available"),
    (r"very same", "same"),
    (r"(?:taken|takes?|took|taking) up", "resume, continue"),
    (r"at work", "running, active"),
    (r"on (?:its|their) way", "in flight"),
    (r"mend(?:s|ed|ing)?", "fix, repair"),
    (r"things?", "name it"),
    (r"wholly|whole(?! numbers?\b)", "complete, entire, all"),
)  # fmt: skip
_ANY = re.compile(rf"\b(?:{'|'.join(pattern for pattern, _ in BANNED)})\b", re.IGNORECASE)
"""Takes a quarter of the time of all."""
_BANNED = tuple(
    (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), instead) for pattern, instead in BANNED
)
_TEXT_FILES = {".j2", ".js", ".css", ".sql", ".yaml", ".pyi", ".example"}
# What a command printed: its words are checked where they are made.
_JINJA = re.compile(r"{%.*?%}|{{.*?}}", re.DOTALL)
_PRINTED = re.compile(r"^ *```console\n.*?^ *```$", re.DOTALL | re.MULTILINE)


def found(text: str) -> Iterator[str]:
    """Yield each banned word in a text with the words around it, and what to write instead."""
    line = " ".join(text.split())
    if not _ANY.search(line):
        return
    for pattern, instead in _BANNED:
        for match in pattern.finditer(line):
            around = line[max(0, match.start() - 40) : match.end() + 30]
            yield f"…{around}…\n    {match[0]!r}: write {instead}"


def texts_of_module(source: str) -> Iterator[str]:
    """Yield the strings, docstrings and comments of Python source, adjacent comments as one."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.JoinedStr(values=parts):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
                )
                for part in parts:  # they are in the text already
                    if isinstance(part, ast.Constant):
                        part.value = ""
            case ast.Constant(value=str(text)):
                yield text
    yield from _comments(source)


def _comments(source: str) -> Iterator[str]:
    block, last = "", -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last + 1:
            yield block
            block = ""
        block, last = f"{block} {token.string.lstrip('# ')}", token.start[0]
    yield block


def _texts(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            yield from texts_of_module(text)
        case ".md":
            yield _PRINTED.sub("", text)
        case ".j2":
            yield _JINJA.sub("", text)
        case _:
            yield re.sub(r"^\s*(?:#|//|--|\*)", "", text, flags=re.MULTILINE)


def _help() -> dict[str, list[str]]:
    """The texts of ``--help``, by command."""
    group = typer.main.get_command(app)
    commands = {"": group, **{f" {name}": command for name, command in all_commands(group).items()}}
    return {
        f"crucible-batch{name} --help": [
            str(text)
            for text in (
                command.help,
                command.epilog,
                *(getattr(each, "help", "") for each in command.params),
            )
            if text
        ]
        for name, command in commands.items()
    }


def _files() -> Iterator[Path]:
    yield from (
        *sorted(ROOT.glob("*.md")),
        ROOT / "Makefile",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    yield from sorted((ROOT / "tests").rglob("*.md"))
    yield from sorted(
        path for path in (ROOT / "manifests").rglob("*") if path.suffix in {".yaml", ".py"}
    )
    yield from sorted(path for path in PACKAGE.rglob("*") if path.suffix in {".py", *_TEXT_FILES})


def _texts_by_source() -> Iterator[tuple[str, Iterable[str]]]:
    yield from ((path.relative_to(ROOT).as_posix(), _texts(path)) for path in _files())
    yield from _help().items()


def test_no_text_has_banned_words() -> None:
    words = [
        f"{source}: {each}"
        for source, texts in _texts_by_source()
        for text in texts
        for each in found(text)
    ]
    assert words == [], "\n".join(words)


@each_case(
    "text",
    [
        "The books can be held\nagainst the ledger.", "The run goes on.", "--help says it",
        "make the plan anew", "This is no image.", "It names none.", "This name is none.",
        "it lets go of the lock", "what moved since", "The whole run.", "two things",
        "Its jobs fail unasked.", "It is looked at later.",
        "It ends at once.", "Somebody reads it.", "an address for who has the token",
    ],
)  # fmt: skip
def test_a_banned_word_is_found(text: str) -> None:
    assert list(found(text))


@each_case(
    "text",
    [
        "an essay about something", "There is no budget.", "It is no longer read.",
        "must be a whole number", "There are none.", "the_page_says", "nothing",
        "The default is None.", "It holds a lock; nothing speaks against it.",
    ],
)  # fmt: skip
def test_an_ordinary_text_is_not_taken_for_a_banned_word(text: str) -> None:
    assert list(found(text)) == []


def test_only_what_a_person_reads_is_taken_from_a_module() -> None:
    source = (
        'def says(things):  # goes\n    # on\n    """One."""\n'
        '    return f"a {things} b" "c", says\n'
    )
    assert sorted(filter(None, texts_of_module(source))) == [" goes on", "One.", "a {} bc"]
