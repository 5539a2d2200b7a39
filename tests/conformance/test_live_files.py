"""Files and messages that pass between a running job and the home."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import ActionRefused, FileNotFound, JobNotFound, JobState, PathRefused, SpecError

from .gates import LONGEST, until

if TYPE_CHECKING:
    from .gates import Gate
    from .modes import Settings

ASK = (
    'ask() { printf \'target %s\\nsource %s\\ndestination %s\\n\' "$2" "$3" "$4" > "$MIG_LOCALJOBNAME.$1update"; '
    'until [ -e "$MIG_LOCALJOBNAME.$1updatedone" ]; do sleep 0.05; done; rm "$MIG_LOCALJOBNAME.$1updatedone"; }'
)


async def arrived(mig: aiomig.Session, path: str, text: str) -> None:
    """Wait until a file of the home has some text. A grid does not report its arrival."""
    with anyio.fail_after(LONGEST):
        while not await mig.files.exists(path) or await mig.files.read_text(path) != text:  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def test_a_running_job_sends_files(mig: aiomig.Session, top: str, gate: Gate) -> None:
    job = await mig.submit(
        ["mkdir deep; echo half > deep/part.txt; echo begun", gate.command, "echo whole > deep/part.txt"]
    )
    await until(job, JobState.EXECUTING)
    await started(job)
    assert await job.send_live("deep/part.txt", f"{top}/live") == (f"{top}/live/part.txt",)
    await arrived(mig, f"{top}/live/part.txt", "half\n")
    out, err = await job.send_live()
    assert out == f"job_output/{job.id}/{job.id}.stdout"
    await arrived(mig, out, "begun\n")
    assert await mig.files.read_text(err) == ""
    gate.open()
    assert (await job).ok
    assert await mig.files.read_text(f"{top}/live/part.txt") == "half\n"


async def started(job: aiomig.Job) -> None:
    """Wait until the first command of a job has written a line."""
    async for _ in job.tail():
        return


async def test_a_running_job_gets_files(mig: aiomig.Session, top: str, gate: Gate) -> None:
    await mig.files.write_text(f"{top}/a.txt", "from home\n")
    job = await mig.submit(["echo begun", "until [ -s new/a.txt ]; do sleep 0.05; done; cat new/a.txt"])
    await until(job, JobState.EXECUTING)
    await started(job)
    assert await job.get_live(f"{top}/a.txt", "new") == ("new/a.txt",)
    assert (await job).stdout == "begun\nfrom home\n"


async def test_only_a_running_job_passes_files(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/a.txt", "a")
    job = await mig.submit("true")
    await job.wait()
    with pytest.raises(ActionRefused, match="not currently being executed; it is FINISHED"):
        await job.send_live()
    with pytest.raises(ActionRefused, match="not currently being executed; it is FINISHED"):
        await job.get_live(f"{top}/a.txt")
    for job_id in ("9_1_1_2026__1_1_1_nowhere.0", "*"):
        with pytest.raises(JobNotFound):
            await mig.job(job_id).send_live()


async def test_bad_paths_are_refused(mig: aiomig.Session, top: str) -> None:
    await mig.files.mkdir(f"{top}/folder")
    job = mig.job("9_1_1_2026__1_1_1_nowhere.0")
    odd: list[Any] = ["../x", "/etc/passwd", "", "a\nb", "a#b", ".."]
    for path in odd:
        with pytest.raises(PathRefused):
            await job.send_live(path, top)
        with pytest.raises(PathRefused):
            await job.get_live(f"{top}/folder", path)
    with pytest.raises(PathRefused):
        await job.send_live("a", "../x")
    with pytest.raises(PathRefused, match="a directory; give files"):
        await job.get_live(f"{top}/folder")
    with pytest.raises(FileNotFound):
        await job.get_live(f"{top}/missing")
    with pytest.raises(SpecError, match="nothing to send"):
        await job.get_live([])


async def test_a_job_sends_and_receives_messages(mig: aiomig.Session, settings: Settings) -> None:
    if not settings.here:
        pytest.skip("servers on Python 3 give jobs empty messages (docs/protocol.md#message-queues)")
    tasks, results = (mig.queue(f"conformance{secrets.token_hex(4)}") for _ in range(2))
    await tasks.create()
    await results.create()
    await tasks.send("7")
    commands = [
        ASK,
        f"ask get mqueue {tasks.name} in; echo $(( $(cat in/{tasks.name}) * 6 )) > answer",
        f"ask send mqueue answer {results.name}",
        f"ask get mqueue {tasks.name} in; wc -c < in/{tasks.name}",
    ]
    assert (await (await mig.submit(commands))).stdout.strip() == "0"
    assert (await tasks.list(), await results.receive()) == ([], "42\n")
    await tasks.remove()
    await results.remove()


async def test_a_job_asks_for_files_itself(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/a.txt", "from home\n")
    commands = [
        ASK,
        f"echo part > part.txt; ask send liveio part.txt {top}/now",
        f"ask get liveio {top}/a.txt got; cat got/a.txt",
    ]
    assert (await (await mig.submit(commands))).stdout == "from home\n"
    assert await mig.files.read_text(f"{top}/now/part.txt") == "part\n"
