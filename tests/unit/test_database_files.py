"""A live SQLite file is opened by SQLite only: closing any other descriptor of it drops the locks
of the process.

POSIX record locks belong to a process and a file. SQLite knows of its own descriptors; of one that
``open()`` made it knows nothing, and when that is closed, another process may remove the
write-ahead log of a journal that is in use.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.features import exists
from tests.harness.case_table import each_case

PACKAGE = Path(__file__).parents[2] / "crucible_batch"

DATABASE_NAMES = re.compile(
    r"\bFILE\b|\b_JOURNAL\b|\bSUFFIX\b|\.sqlite3|\baccount_files?\b|\bjournal_file\b"
    r"|\b(journal|account)\.path\b"
)
"""How our modules name the file of a journal, of an account, or one beside it (-wal, -shm)."""
KNOWS_A_DATABASE = re.compile(
    r"sqlite3\.connect|\bFILE\b|\b_JOURNAL\b|\bSUFFIX\b|\.sqlite3\b|\baccount_files?\b"
)

METHODS = {
    "open", "read_bytes", "read_text", "write_bytes", "write_text", "touch", "copyfile", "copy2",
    "copytree", "copyfileobj", "sendfile", "copy_file_range", "copy_into", "mmap",
}  # fmt: skip
OWN_CLASSES = {"Journal", "Image", "webbrowser"}
"""Their ``open`` is another one: the journal's is SQLite's."""

ALLOWED = {
    # (module, what is opened): why it is not a live database
    (
        "journal/database.py",
        "resources.files(__package__).joinpath('schema.sql')",
    ): "a file of the package",
    ("journal/safe_files.py", "folder"): "a directory, to sync it",
    (
        "manifest/loader.py",
        "path",
    ): "a manifest; a directory with a journal is only recognised by its name",
}
if (PACKAGE / "features" / "view" / "watching.py").is_file():
    # Its folder stays where control, which it needs, was deleted.
    ALLOWED |= {("features/view/watching.py", "self._store"): "an output of the run"}
if exists("periods"):
    ALLOWED |= {
        ("features/periods/database.py", "temporary"): "a new file, before SQLite opens it",
        ("features/periods/database.py", "path.parent"): "a directory, to sync it",
    }


def opens(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield each call that opens a file by itself: its line, what it opens, and the whole call."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first = ast.unparse(node.args[0]) if node.args else ""
        called = node.func
        if isinstance(called, ast.Name) and called.id in {
            "open",
            "FileIO",
            "copyfile",
            "copytree",
            "copy2",
        }:
            yield node.lineno, first, ast.unparse(node)
        elif isinstance(called, ast.Attribute):
            receiver = ast.unparse(called.value)
            is_module = receiver in {"os", "io", "shutil", "mmap", "tarfile", "zipfile", "builtins"}
            names = METHODS | {"copy", "move", "FileIO"} if is_module else METHODS
            if called.attr in names and receiver not in OWN_CLASSES:
                yield node.lineno, first if is_module else receiver, ast.unparse(node)


def forbidden_opens(module: str, text: str) -> list[str]:
    """Return the calls of a module that may open a live database.

    In a module that knows the file of a database, each call is one unless it is in the table above;
    in the others, each whose words name such a file.
    """
    tree = ast.parse(text)
    knows = bool(
        KNOWS_A_DATABASE.search(text) and KNOWS_A_DATABASE.search(_without_docstrings(text))
    )
    found = []
    for line, what, call in opens(tree):
        if (module, what) in ALLOWED:
            continue
        if knows or DATABASE_NAMES.search(call):
            found.append(f"crucible_batch/{module}:{line}: {call}")
    return found


def _without_docstrings(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            node.value.value = ""
    return ast.unparse(tree)


def test_no_module_opens_a_live_database_by_itself() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += forbidden_opens(
            path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        )
    assert found == []


def test_each_exception_is_still_needed() -> None:
    used = set()
    for module, what in ALLOWED:
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        used |= {(module, what) for _, opened, _ in opens(tree) if opened == what}
    assert used == set(ALLOWED)


CONNECTS = "import sqlite3\ndef f(path):\n    sqlite3.connect(path)\n    "


@each_case(
    "text",
    [
        CONNECTS + "path.open('rb')",
        CONNECTS + "open(path)",
        CONNECTS + "path.read_bytes()",
        CONNECTS + "os.open(path, 0)",
        CONNECTS + "os.open(path.with_name('x-wal'), 0)",
        CONNECTS + "path.touch()",
        CONNECTS + "shutil.copy(path, other)",
        CONNECTS + "shutil.copytree(path.parent, other)",
        "from x import FILE\nwith (folder / FILE).open('rb') as file: pass",
        "_JOURNAL = '.crucible/journal.sqlite3'\n(directory / _JOURNAL).read_bytes()",
        "(directory / '.crucible' / 'journal.sqlite3').read_bytes()",
        "shutil.copy2(directory / 'journal.sqlite3-wal', other)",
        "open(journal.path, 'rb')",
        "for file in account_files(directory): file.read_bytes()",
        "os.open(account.path, os.O_RDONLY)",
    ],
)
def test_the_rule_finds_each_way_to_open_a_database(text: str) -> None:
    assert forbidden_opens("planted.py", text)


@each_case(
    "text",
    [
        "(directory / 'report.json').read_bytes()",
        "with Journal.open(directory, binding, now=0): pass",
        "from x import FILE\nwith Journal.read(directory) as journal: pass",
        "connection = sqlite3.connect(path)\nconnection.execute('SELECT 1')",
        '"""It is in journal.sqlite3."""\npath.read_bytes()',
    ],
)
def test_the_rule_leaves_other_files_alone(text: str) -> None:
    assert forbidden_opens("planted.py", text) == []
