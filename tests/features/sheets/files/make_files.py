"""Makes the spreadsheets beside it with LibreOffice, once: run it after a change of ``SHEETS``.

The committed files are those of LibreOffice 25.2.3, and tests read them, so that they need no
LibreOffice. The script needs ``soffice`` and German number formats (Debian: ``libreoffice-calc``,
``libreoffice-l10n-de``).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

HERE = Path(__file__).parent
GERMAN = "59,34,76,1,,1031,false,true,false,false,false,1"
"""Semicolons, double quotes, UTF-8, the first line, de-DE, cells as shown, the first sheet."""
ENGLISH = "44,34,76,1,,1033,false,true,false,false,false,1"

Cell = str
Row = Sequence[Cell]


def text(value: str, more: str = "") -> Cell:
    lines = "".join(f"<text:p>{_escaped(line)}</text:p>" for line in value.split("\n"))
    return f'<table:table-cell office:value-type="string"{more}>{lines}</table:table-cell>'


def number(value: str, style: str = "") -> Cell:
    named = f' table:style-name="{style}"' if style else ""
    return f'<table:table-cell office:value-type="float" office:value="{value}"{named}/>'


def day(value: str, style: str = "iso") -> Cell:
    return (
        f'<table:table-cell table:style-name="{style}" office:value-type="date"'
        f' office:date-value="{value}"/>'
    )


def clock(value: str) -> Cell:
    return (
        '<table:table-cell table:style-name="clock" office:value-type="time"'
        f' office:time-value="{value}"/>'
    )


def truth(value: str) -> Cell:
    return (
        '<table:table-cell table:style-name="truth" office:value-type="boolean"'
        f' office:boolean-value="{value}"/>'
    )


def formula(value: str) -> Cell:
    return f"<table:table-cell table:formula={quoteattr('of:=' + value)}/>"


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;")


EMPTY = "<table:table-cell/>"
MERGED = ' table:number-rows-spanned="2" table:number-columns-spanned="1"'
COVERED = "<table:covered-table-cell/>"

PRODUCTS: Sequence[Row] = (
    [text(name) for name in ("sku", "title", "pieces", "since", "note")],
    [text("a-1"), text("Größe M; blau"), number("3"), day("2026-11-30"), text('12" wide')],
    [text("007"), text("Käse, „alt“"), number("12"), day("2024-02-29"), EMPTY],
    [text("c 3"), text("two\nlines"), formula("[.C2]*2+1"), day("1999-12-31"), text("=1+1")],
)
VALUES: Sequence[Row] = (
    [text("kind"), text("value")],
    [text("whole"), number("3")],
    [text("decimal"), number("0.1")],
    [text("long"), number("12345678901234")],
    [text("negative"), number("-2.50")],
    [text("percent"), number("0.25", "percent")],
    [text("date"), day("2026-11-30")],
    [text("German date"), day("2026-11-30", "german")],
    [text("date and time"), day("2026-11-30T14:05:09", "moment")],
    [text("time"), clock("PT14H05M09S")],
    [text("hours"), clock("PT30H00M00S")],
    [text("true"), truth("true")],
    [text("false"), truth("false")],
    [text("formula"), formula('"a"&1+1')],
    [text("empty"), EMPTY],
    [text("spaces"), text("  two  ")],
    [text("digits"), text("007")],
)
FAULTS: Sequence[Row] = (
    [text("sku"), text("price")],
    [text("a"), number("1")],
    [text("b"), formula("1/0")],
    [text("c"), formula("NA()")],
    [text("d"), text("#N/A")],
)
MERGES: Sequence[Row] = (
    [text("group"), text("sku")],
    [text("cups", MERGED), text("a")],
    [COVERED, text("b")],
    [text("plates"), text("c")],
)
GAPS: Sequence[Row] = (
    [EMPTY, EMPTY, EMPTY],
    [EMPTY, EMPTY, EMPTY],
    [EMPTY, text("sku"), text(" title ")],
    [EMPTY, text("a"), text("A")],
    [EMPTY, EMPTY, EMPTY],
    [EMPTY, text("b"), EMPTY],
    [EMPTY, EMPTY, text("C")],
)
SHEETS = {
    "Products": PRODUCTS,
    "Values": VALUES,
    "Faults": FAULTS,
    "Merged": MERGES,
    "Gaps & more": GAPS,
    "Empty": (),
}

_NAMESPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{path}"'
    for name, path in (
        ("office", "office:1.0"),
        ("table", "table:1.0"),
        ("text", "text:1.0"),
        ("style", "style:1.0"),
        ("number", "datastyle:1.0"),
        ("of", "of:1.2"),
    )
)
_STYLES = """
<number:date-style style:name="N1"><number:year number:style="long"/><number:text>-</number:text>
<number:month number:style="long"/><number:text>-</number:text><number:day number:style="long"/>
</number:date-style>
<number:date-style style:name="N2"><number:day number:style="long"/><number:text>.</number:text>
<number:month number:style="long"/><number:text>.</number:text><number:year number:style="long"/>
</number:date-style>
<number:date-style style:name="N3"><number:year number:style="long"/><number:text>-</number:text>
<number:month number:style="long"/><number:text>-</number:text><number:day number:style="long"/>
<number:text> </number:text><number:hours number:style="long"/><number:text>:</number:text>
<number:minutes number:style="long"/><number:text>:</number:text><number:seconds
number:style="long"/>
</number:date-style>
<number:time-style style:name="N4" number:truncate-on-overflow="false"><number:hours
number:style="long"/><number:text>:</number:text><number:minutes number:style="long"/><number:text>:
</number:text><number:seconds number:style="long"/></number:time-style>
<number:percentage-style style:name="N5"><number:number number:decimal-places="0"
number:min-integer-digits="1"/><number:text>%</number:text></number:percentage-style>
<number:boolean-style style:name="N6"><number:boolean/></number:boolean-style>
""" + "".join(
    f'<style:style style:name="{name}" style:family="table-cell" style:data-style-name="{data}"/>'
    for name, data in (
        ("iso", "N1"),
        ("german", "N2"),
        ("moment", "N3"),
        ("clock", "N4"),
        ("percent", "N5"),
        ("truth", "N6"),
    )
)


def document() -> str:
    """Return the workbook as flat OpenDocument, which LibreOffice reads."""
    tables = "".join(
        f"<table:table table:name={quoteattr(name)}>"
        + "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in SHEETS.items()
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {_NAMESPACES}'
        ' office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.spreadsheet">'
        f"<office:automatic-styles>{_STYLES}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
        "</office:document>"
    )


def converted(source: Path, to: str, folder: Path) -> Path:
    """Return the file that LibreOffice makes of ``source``, with a profile of its own."""
    profile = (folder / "profile").as_uri()
    command = ["soffice", f"-env:UserInstallation={profile}", "--headless", "--convert-to", to]
    subprocess.run([*command, "--outdir", folder, source], check=True, timeout=300)
    suffix = to.partition(":")[0]
    return next(path for path in folder.glob(f"*.{suffix}") if path != source)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / "workbook.fods"
        source.write_text(document())
        for suffix in ("xlsx", "ods"):
            made = converted(source, suffix, folder)
            (HERE / f"workbook.{suffix}").write_bytes(made.read_bytes())
        for name, tokens in (("german", GERMAN), ("english", ENGLISH)):
            made = converted(source, f"csv:Text - txt - csv (StarCalc):{tokens}", folder)
            (HERE / f"products-{name}.csv").write_bytes(made.read_bytes())
            made.unlink()


if __name__ == "__main__":
    main()
