"""``aiomig serve``: its URL, shutdown, restart, and two services on one home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "correct-horse"


@contextmanager
def service(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run ``aiomig serve`` on a home, and yield the process and a client."""
    command = [sys.executable, "-W", "error", "-m", "aiomig", "--json", "--home", str(home), "serve", "--port", "0"]
    environment = {**os.environ, "AIOMIG_TOKEN": TOKEN}
    process = subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url, _, token = json.loads(line)["url"].partition("?token=")
            assert token == TOKEN
            with httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def submitted(client: httpx.Client, commands: str) -> str:
    job_id: str = client.post("/api/jobs", json={"commands": commands}).json()["id"]
    return job_id


def test_a_signal_stops_the_service_but_not_the_jobs_and_the_next_service_finds_them(tmp_path: Path) -> None:
    home, gate = tmp_path / "home", tmp_path / "gate"
    os.mkfifo(gate)
    with service(home, "--slots", "1") as (process, client):
        running = submitted(client, f"read line < {gate}; echo done")
        waiting = submitted(client, "echo second")
        with client.stream("GET", f"/api/jobs/{running}/events") as events:
            for line in events.iter_lines():
                if '"EXECUTING"' in line:
                    break
            with client.stream("GET", "/api/events") as stream:
                process.send_signal(signal.SIGTERM)
                assert process.wait(5) == -signal.SIGTERM
                stream.read()  # the stream ends, and a page would reconnect
        assert process.stderr is not None
        assert process.stderr.read() == ""
    with service(home, "--slots", "1") as (process, client):
        states = {job["id"]: job["state"] for job in client.get("/api/jobs").json()["jobs"]}
        assert states == {running: "EXECUTING", waiting: "QUEUED"}
        gate.write_text("go\n")
        for job_id, text in ((running, "done\n"), (waiting, "second\n")):
            result = client.get(f"/api/jobs/{job_id}/result", params={"wait": 60}).json()
            assert (result["exit_code"], result["stdout"]) == (0, text)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) in (-signal.SIGINT, 130)


def test_two_services_on_one_home_show_the_same_jobs_and_share_the_slots(tmp_path: Path) -> None:
    home, gate = tmp_path / "home", tmp_path / "gate"
    os.mkfifo(gate)
    with service(home, "--slots", "1") as (_, one), service(home, "--slots", "1") as (_, other):
        first = submitted(one, f"read line < {gate}")
        with one.stream("GET", f"/api/jobs/{first}/events") as events:
            assert any('"EXECUTING"' in line for line in events.iter_lines())
        with one.stream("GET", "/api/events") as events:
            second = submitted(other, "true")
            assert any(second in line for line in events.iter_lines()), "one service reports the other's job"
        assert other.get(f"/api/jobs/{second}").json()["state"] == "QUEUED", "the slot is taken"
        assert {job["id"] for job in one.get("/api/jobs").json()["jobs"]} == {first, second}
        assert other.post(f"/api/jobs/{first}/cancel").json()["changed"] is True
        assert one.get(f"/api/jobs/{second}/result", params={"wait": 60}).json()["state"] == "FINISHED"


@pytest.mark.parametrize("options", [["--port", "70000"], ["--host", "no.such.host.example"], ["--token", "ü"]])
def test_invalid_options_give_one_line(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "aiomig", "--home", str(tmp_path), "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("aiomig: ")
    assert "Traceback" not in done.stderr
