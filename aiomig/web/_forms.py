"""Forms with files. The files are written to a private directory of this machine while they arrive."""

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

_MAX_PARTS = 2000
_MAX_FIELD_BYTES = 1 << 20


@dataclass
class Form:
    """A complete form.

    Attributes:
        fields: the name and value of each field, in order.
        files: the field name, the client's file name, and the path on this machine of each file.
    """

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str, Path]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self.fields if key == name]


class _FormReader:
    """The parser's callbacks: collects the fields and writes the files.

    The parser reports each part of a form as headers, data and an end. A header or a piece of data may come in chunks.
    """

    def __init__(self, directory: Path) -> None:
        self.form = Form()
        self._directory = directory
        self._open_files = ExitStack()
        self._header = b""
        self._value = b""
        self._name = ""
        self._text: bytearray | None = None
        self._file: BinaryIO | None = None
        self.is_complete = False

    def callbacks(self) -> dict[str, object]:
        """Return the callbacks under the names that the parser expects."""
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
        if len(self.form.fields) + len(self.form.files) >= _MAX_PARTS:
            raise Problem(413, f"a form may have at most {_MAX_PARTS} parts")
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
        path = self._directory / str(len(self.form.files))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = self._open_files.enter_context(os.fdopen(os.open(path, flags, 0o600), "wb"))
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
            if len(self._text) > _MAX_FIELD_BYTES:
                raise Problem(413, f"a field may have at most {_MAX_FIELD_BYTES} bytes; send more as a file")

    def part_end(self) -> None:
        if self._text is not None:
            self.form.fields.append((self._name, self._text.decode("utf-8", "replace")))
        self.close()

    def end(self) -> None:
        self.is_complete = True

    def close(self) -> None:
        """Close the file that is being written."""
        self._open_files.close()


async def read_form(request: Request, directory: Path) -> Form:
    """Read a form with files.

    Args:
        request: a request with ``multipart/form-data``.
        directory: an empty private directory for the files. They are named 0, 1, 2, …

    Raises:
        Problem: the form is malformed or incomplete.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    reader = _FormReader(directory)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except (FormParserError, KeyError, ValueError) as error:
        raise Problem(400, "the form is malformed") from error
    finally:
        reader.close()
    if not reader.is_complete:
        raise Problem(400, "the form is incomplete; send it again")
    return reader.form
