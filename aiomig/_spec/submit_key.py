"""Submit keys, which make submits idempotent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._core.errors import SpecError
from .._core.models import Fault
from .fields import RESOURCE_FIELDS, SPEC_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .values import InputFile

MARKER = "key"
"""The prefix of markers of submits with a key. Other markers are hexadecimal."""

_LONGEST = 200
_FILES = {"EXECUTE": "commands", "INPUTFILES": "inputs", "EXECUTABLES": "executables", "OUTPUTFILES": "outputs"}


def validate_key(value: object, faults: list[Fault]) -> str | None:
    """Return the ``key`` of a `JobSpec`, or add a fault to `faults`."""
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _LONGEST:
        return value
    faults.append(Fault("key", value, "not a short string", f"give 1 to {_LONGEST} printable characters, or None"))
    return None


@dataclass(frozen=True, slots=True)
class SubmitKey:
    """The key of a submit, and digests of the description.

    Attributes:
        text: the key.
        digests: digests of the lines of each keyword, and of inputs given as bytes; the same for equal descriptions.
    """

    text: str
    digests: Mapping[str, str]

    @classmethod
    def of(cls, text: str, keywords: Mapping[str, Sequence[str]], inputs: Sequence[InputFile]) -> SubmitKey:
        """Create the key of a description in which the name of the private folder does not depend on the job."""
        digests = digests_of(keywords)
        digests |= {
            f"content of {file.name}": _digest(file.source) for file in inputs if isinstance(file.source, bytes)
        }
        return cls(text, digests)

    @property
    def marker(self) -> str:
        """The marker of the submit: letters and digits that depend only on the key."""
        return MARKER + hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def encode(self) -> str:
        """Return the digests as a string, for records."""
        return json.dumps(self.digests, sort_keys=True)

    def ensure_same(self, recorded: Mapping[str, str], job_id: str) -> None:
        """Raise `SpecError` if the job with this key has a different description."""
        differing = [
            _field(part)
            for part in sorted(recorded.keys() | self.digests.keys())
            if recorded.get(part) != self.digests.get(part)
        ]
        if differing:
            names = ", ".join(dict.fromkeys(differing))
            problem = f"is the key of job {job_id}, which differs in: {names}"
            raise SpecError([Fault("key", self.text, problem, "use another key, or the same description")])


def digests_of(keywords: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return a digest of the lines of each keyword."""
    return {keyword: _digest("\n".join(lines).encode("utf-8", "surrogatepass")) for keyword, lines in keywords.items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _field(keyword: str) -> str:
    names = [field.name for field in (*SPEC_FIELDS, *RESOURCE_FIELDS) if field.keyword == keyword]
    return _FILES.get(keyword) or " or ".join(names) or keyword
