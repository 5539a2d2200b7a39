"""The recorded requests to a real server and its responses, for the tests that replay them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from aiomig._grid.protocol.answer import missing_jobs, read_objects
from aiomig._grid.protocol.files import read_listing
from aiomig._grid.protocol.jobs import read_statuses

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiomig import JobStatus
    from aiomig._grid.protocol.answer import Answer, Object
    from aiomig._grid.protocol.files import Listing

T = TypeVar("T")

FOLDER = Path(__file__).parents[1] / "data" / "recordings"


@dataclass(frozen=True)
class Exchange:
    """A recorded response. Recorded JSON leaves out the scripts and styles of web pages."""

    name: str
    method: str
    path: str
    status: int
    content_type: str
    body: bytes
    location: str
    note: str

    @property
    def operation(self) -> str:
        return self.path.rpartition("/")[2].partition(".")[0]

    @property
    def case(self) -> str:
        return self.name.removesuffix("--json").removesuffix("--txt")


def _exchange(record: dict[str, Any]) -> Exchange:
    if "json" in record:
        body = json.dumps(record["json"]).encode()
    elif record.get("base64"):
        body = base64.b64decode(record["body"])
    else:
        body = record["body"].encode()
    return Exchange(
        name=record["name"],
        method=record["method"],
        path=record["path"],
        status=record["status"],
        content_type=record["content_type"],
        body=body,
        location=record.get("location", ""),
        note=record.get("note", ""),
    )


def exchanges() -> dict[str, Exchange]:
    lines = (FOLDER / "exchanges.jsonl").read_text("utf-8").splitlines()
    found = (_exchange(json.loads(line)) for line in lines)
    return {each.name: each for each in found}


EXCHANGES = exchanges()


def finished(steps: Generator[object, None, T]) -> T:
    """Run a reader to its end and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)


def objects(*arguments: Any, **named: Any) -> list[Object]:
    """Return the objects of a response, read in one step; see `read_objects`."""
    return finished(read_objects(*arguments, **named))


class Statuses(NamedTuple):
    """The statuses of a response by job id, and the ids that match no job."""

    found: dict[str, JobStatus]
    missing: tuple[str, ...]


def statuses(answer: Answer, operation: str = "jobstatus") -> Statuses:
    return Statuses(finished(read_statuses(answer, None, operation)), missing_jobs(answer))


def listing(answer: Answer, operation: str = "ls") -> Listing:
    return finished(read_listing(answer, operation))
