"""Forms with files, which go to a private folder of this machine while they arrive."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ._problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

_MOST_PARTS = 2000
_LONGEST_FIELD = 1 << 20


@dataclass
class Form:
    """A form that has arrived.

    Attributes:
        fields: names and values, in order.
        files: the name of the field, the name that the client gave, and the file on this machine.
    """

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str, Path]] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        """Return the values of a field."""
        return [value for key, value in self.fields if key == name]


class _FormReader:
    """Takes the parts of a form from the parser."""

    def __init__(self, folder: Path) -> None:
        self.form = Form()
        self._folder = folder
        self._stack = ExitStack()
        self._header = b""
        self._value = b""
        self._name = ""
        self._text: bytearray | None = None
        self._file: BinaryIO | None = None
        self.is_whole = False

    def callbacks(self) -> dict[str, object]:
        """Return the methods that the parser calls."""
        names = (
            "part_begin",
            "part_data",
            "part_end",
            "header_field",
            "header_value",
            "header_end",
            "headers_finished",
            "end",
        )
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.form.fields) + len(self.form.files) >= _MOST_PARTS:
            raise Problem(413, f"a form may have {_MOST_PARTS} parts")
        self._name, self._text, self._file = "", bytearray(), None
        self._header = self._value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self._begin_file(options[b"filename"].decode("utf-8", "replace"))
        self._header = self._value = b""

    def _begin_file(self, name: str) -> None:
        path = self._folder / str(len(self.form.files))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = self._stack.enter_context(os.fdopen(os.open(path, flags, 0o600), "wb"))
        self._text = None
        self.form.files.append((self._name, name, path))

    def headers_finished(self) -> None:
        if not self._name:
            raise Problem(400, "a part of the form has no name")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._text is not None:
            self._text += data[start:end]
            if len(self._text) > _LONGEST_FIELD:
                raise Problem(413, f"a field may have {_LONGEST_FIELD} bytes; send more as a file")

    def part_end(self) -> None:
        if self._text is not None:
            self.form.fields.append((self._name, self._text.decode("utf-8", "replace")))
        self.close()

    def end(self) -> None:
        self.is_whole = True

    def close(self) -> None:
        """Close the file that is being written."""
        self._stack.close()


async def read_form(request: Request, folder: Path) -> Form:
    """Read a form with files.

    Args:
        request: a request with ``multipart/form-data``.
        folder: an empty private folder, in which the files have numbers as names.

    Raises:
        Problem: it is not a whole form.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    reader = _FormReader(folder)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())  # type: ignore[arg-type]
        async for piece in request.stream():
            parser.write(piece)
        parser.finalize()
    except (FormParserError, KeyError, ValueError) as error:
        raise Problem(400, "the form is malformed") from error
    finally:
        reader.close()
    if not reader.is_whole:
        raise Problem(400, "the form is cut off")
    return reader.form
