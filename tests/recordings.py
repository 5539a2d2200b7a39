"""The recorded requests to a real server and its responses, for the tests that replay them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "recordings"


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
