"""A client that works like `miginterface`: one request for each call, and a new TLS connection for each request.

`miginterface` ran curl for each call. This client is cheaper: it starts no process and reads the certificates once.
`miginterface` uploaded an archive with the description and the inputs by CERTPUT, which servers no longer accept
(docs/protocol.md#put-and-certput). This client sends them in one request to ``textarea``, which accepts only text. Its
User-Agent is curl, because servers require no token from curl (docs/protocol.md#csrf-tokens).
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from aiomig._grid.forms import multipart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiomig.testing import ServerProcess

_FINAL = frozenset({"FINISHED", "FAILED", "CANCELED", "EXPIRED"})
_AGENT = "curl/8.0 (the naive client of aiomig's benchmarks)"


class NaiveClient:
    """A blocking client, like `miginterface`."""

    def __init__(self, server: ServerProcess) -> None:
        address = urlsplit(server.url)
        self._host, self._port = str(address.hostname), address.port
        self._context = ssl.create_default_context(cafile=str(server.ca))
        self._context.load_cert_chain(server.certificate, server.key)

    def _request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context)
        try:
            headers = {"User-Agent": _AGENT, "Connection": "close"} | ({"Content-Type": kind} if kind else {})
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: HTTP {response.status}")
        return data

    def _objects(self, operation: str, body: bytes, kind: str) -> list[dict[str, Any]]:
        objects: list[dict[str, Any]] = json.loads(self._request("POST", f"/wsgi-bin/{operation}.py", body, kind))
        return objects

    def submit(self, number: int, commands: Sequence[str], inputs: Mapping[str, str]) -> str:
        """Send the description of a job and all of its inputs. Return the job id."""
        folder = f"naive/{number}"
        staged = [f"{folder}/{name} {name}" for name in inputs]
        description = "\n".join(["::EXECUTE::", *commands, "", "::INPUTFILES::", *staged, ""])
        contents = {**inputs, "job.mRSL": description}
        fields = [("output_format", "json")]
        files = []
        for index, (name, text) in enumerate(contents.items()):
            fields.append((f"remotefilename_{index}", f"{folder}/{name}"))
            files.append((f"fileupload_{index}_0_0", name, text.encode()))
        fields.append((f"submitmrsl_{len(contents) - 1}", "on"))
        chunks, media_type = multipart(fields, files)
        for item in self._objects("textarea", b"".join(chunks), media_type):
            if item["object_type"] == "submitstatuslist" and item["submitstatuslist"][0]["status"]:
                return str(item["submitstatuslist"][0]["job_id"])
        raise RuntimeError(f"job {number} was not submitted")

    def is_final(self, job_id: str) -> bool:
        """Return whether a job has ended."""
        body = urlencode({"output_format": "json", "flags": "v", "job_id": job_id}).encode()
        for item in self._objects("jobstatus", body, "application/x-www-form-urlencoded"):
            if item["object_type"] == "job_list":
                return item["jobs"][0]["status"] in _FINAL
        raise RuntimeError(f"the server does not know {job_id}")

    def wait(self, job_ids: Sequence[str], interval: float) -> None:
        """Poll the jobs one by one, and sleep between rounds, until all have ended."""
        unfinished = list(job_ids)
        while unfinished := [job_id for job_id in unfinished if not self.is_final(job_id)]:
            time.sleep(interval)

    def output(self, job_id: str) -> bytes:
        """Return the standard error of a job followed by its standard output."""
        paths = (f"/cert_redirect/job_output/{quote(job_id)}/{quote(job_id)}.{name}" for name in ("stderr", "stdout"))
        return b"".join(self._request("GET", path) for path in paths)
