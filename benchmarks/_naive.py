"""A client that does what `miginterface` did: one request a call, one new TLS connection a request, one job a status.

`miginterface` ran curl for each call. This one is kinder: there is no process to start, and the certificates are read
once. What it sent by CERTPUT, an archive with the description and the inputs of a job, no server takes any more
(mig-live 6); the same is one request to ``textarea`` today, as long as the inputs are text. It calls itself curl, for
which servers want no token (mig-live 4).
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from aiomig._grid.multipart import multipart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiomig.testing import ServerProcess

_FINAL = frozenset({"FINISHED", "FAILED", "CANCELED", "EXPIRED"})
_AGENT = "curl/8.0 (the naive client of aiomig's benchmarks)"


class NaiveClient:
    """Blocks in every call, as `miginterface` did.

    Args:
        server: where it is, and the user's certificate.
    """

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
        found: list[dict[str, Any]] = json.loads(self._request("POST", f"/wsgi-bin/{operation}.py", body, kind))
        return found

    def submit(self, number: int, commands: Sequence[str], inputs: Mapping[str, str]) -> str:
        """Sends the description of a job and all of its inputs; the job id."""
        folder = f"naive/{number}"
        staged = [f"{folder}/{name} {name}" for name in inputs]
        description = "\n".join(["::EXECUTE::", *commands, "", "::INPUTFILES::", *staged, ""])
        contents = {**inputs, "job.mRSL": description}
        fields = [("output_format", "json")]
        files = []
        for place, (name, text) in enumerate(contents.items()):
            fields.append((f"remotefilename_{place}", f"{folder}/{name}"))
            files.append((f"fileupload_{place}_0_0", name, text.encode()))
        fields.append((f"submitmrsl_{len(contents) - 1}", "on"))
        for each in self._objects("textarea", *multipart(fields, files)):
            if each["object_type"] == "submitstatuslist" and each["submitstatuslist"][0]["status"]:
                return str(each["submitstatuslist"][0]["job_id"])
        raise RuntimeError(f"job {number} was not submitted")

    def is_final(self, job_id: str) -> bool:
        """Whether a job has ended."""
        body = urlencode({"output_format": "json", "flags": "v", "job_id": job_id}).encode()
        for each in self._objects("jobstatus", body, "application/x-www-form-urlencoded"):
            if each["object_type"] == "job_list":
                return each["jobs"][0]["status"] in _FINAL
        raise RuntimeError(f"nothing is known of {job_id}")

    def wait(self, job_ids: Sequence[str], interval: float) -> None:
        """Asks for one job after the other, and rests between two rounds, until all have ended."""
        left = list(job_ids)
        while left := [job_id for job_id in left if not self.is_final(job_id)]:
            time.sleep(interval)

    def output(self, job_id: str) -> bytes:
        """What a job wrote, stderr and stdout in one."""
        paths = (f"/cert_redirect/job_output/{quote(job_id)}/{quote(job_id)}.{name}" for name in ("stderr", "stdout"))
        return b"".join(self._request("GET", path) for path in paths)
