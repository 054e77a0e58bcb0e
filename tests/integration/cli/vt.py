"""A terminal's screen, as far as our frames use one: text, line breaks, moving up, erasing a line."""

import re

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Vt:
    """A screen of ``width`` columns that scrolls without end. ``frames`` counts what was drawn between marks."""

    def __init__(self, width: int) -> None:
        self.lines = [""]
        self.frames = 0
        self._width = width
        self._row = 0
        self._column = 0

    def feed(self, text: str) -> None:
        """Take in what a program wrote."""
        for code, kind, control, words in _TOKEN.findall(text):
            if words:
                self._write(words)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._down()
            elif kind == "A":
                self._row = max(0, self._row - int(code or 1))
            elif kind == "K":
                assert code == "2", "lines are erased as a whole"
                self.lines[self._row] = ""
            elif kind == "l" and code == "?2026":
                self.frames += 1
            else:
                assert kind in "mhl", f"unexpected: {code}{kind}"  # a full clear would be a J

    def _write(self, words: str) -> None:
        for character in words:
            if self._column == self._width:
                self._column = 0
                self._down()
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self.lines):
            self.lines.append("")
