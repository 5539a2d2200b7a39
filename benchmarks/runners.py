"""Ways to run a command many times on this machine, two at once. Each function returns the elapsed seconds.

All ways except Parsl and PSI/J run the script that local mode generates for the job, in a new directory, with the same
output files. The floor does nothing else: no queue, no records, no results in a home.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

import aiomig
from aiomig._shell.script import script
from aiomig._spec.mrsl import Description

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOTS = 2
BASH = shutil.which("bash") or "/bin/bash"
DESCRIPTION = Description({"EXECUTE": ("true",)})


KEPT = "AIOMIG_BENCHMARK_FOLDER"
"""The environment variable with the directory for all runs of a benchmark. It is removed after the last run.

An ext4 file system without a journal does not reuse freed inodes for minutes, and skips them for each new file. If
each run removed its thousands of files, the following runs would be up to five times slower.
"""


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """Provide a new directory for a run, on the file system for temporary files."""
    if KEPT in os.environ:
        yield Path(tempfile.mkdtemp(dir=os.environ[KEPT]))
        return
    with tempfile.TemporaryDirectory(prefix="aiomig-benchmark-") as folder:
        yield Path(folder)


class Script:
    """A job directory with its script, as local mode creates them."""

    def __init__(self, base: Path, number: int) -> None:
        self.folder = base / f"job-dir_{number}"
        self.folder.mkdir()
        self.command = [BASH, f"./{number}.job"]
        self.environment = {"PATH": os.defpath, "MIG_JOBDIR": str(self.folder)}
        self._status = self.folder / f"{number}.status"
        text = script(DESCRIPTION, job_id=str(number), local_name=str(number), control=str(base / f"{number}.control"))
        (self.folder / f"{number}.job").write_text(text, "utf-8")

    def spawn(self, null: int) -> int:
        """Start the script and return the process id. Changes the working directory, which posix_spawn cannot set."""
        os.chdir(self.folder)
        actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
        return os.posix_spawn(BASH, self.command, self.environment, file_actions=actions)

    def check(self) -> None:
        """Raise if the job did not run to its end."""
        if self._status.read_text("ascii") != "true 0\n":
            raise RuntimeError(f"{self._status}: the job failed")


def floor(count: int) -> float:
    """Run the scripts in a bare loop of os.posix_spawn."""
    null = os.open(os.devnull, os.O_RDWR)
    with fresh_folder() as base:
        began = time.perf_counter()
        scripts = []
        for number in range(count):
            if number >= SLOTS:
                os.waitpid(-1, 0)
            scripts.append(Script(base, number))
            scripts[-1].spawn(null)
        for _ in range(min(count, SLOTS)):
            os.waitpid(-1, 0)
        seconds = time.perf_counter() - began
        for job in scripts:
            job.check()
        os.chdir("/")
    os.close(null)
    return seconds


async def run_process(count: int) -> float:
    """Run the scripts with anyio.run_process and a limiter, as a program without a library would."""
    limiter = anyio.CapacityLimiter(SLOTS)
    scripts: list[Script] = []

    async def run_script(number: int) -> None:
        async with limiter:
            job = Script(base, number)
            await anyio.run_process(job.command, cwd=job.folder, env=job.environment)
            scripts.append(job)

    with fresh_folder() as base:
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(run_script, number)
        seconds = time.perf_counter() - began
        for job in scripts:
            job.check()
    return seconds


async def aiomig_local(count: int) -> float:
    """Run the jobs in local mode, and wait for them."""
    with fresh_folder() as home:
        async with aiomig.local(home / "home", slots=SLOTS) as mig:
            began = time.perf_counter()
            jobs = [await mig.submit("true") for _ in range(count)]
            await mig.wait(jobs)
            seconds = time.perf_counter() - began
            for job in jobs:
                if not (await job).ok:
                    raise RuntimeError(f"{job} failed")
    return seconds


def parsl(count: int) -> float:
    """Run the command with Parsl's bash app on its thread executor."""
    parsl = importlib.import_module("parsl")
    importlib.import_module("parsl.executors")

    with fresh_folder() as base:
        threads = parsl.executors.ThreadPoolExecutor(max_threads=SLOTS)
        config = parsl.config.Config(executors=[threads], run_dir=str(base), usage_tracking=0)

        def true(stdout: str, stderr: str) -> str:
            return "true"

        with parsl.load(config):
            app = parsl.bash_app(true)
            began = time.perf_counter()
            futures = [app(str(base / f"{number}.stdout"), str(base / f"{number}.stderr")) for number in range(count)]
            for future in futures:
                future.result()
            return time.perf_counter() - began


def psij(count: int) -> float:
    """Run the command with PSI/J's local executor, two at once."""
    psij = importlib.import_module("psij")

    executor = psij.JobExecutor.get_instance("local")
    free = threading.Semaphore(SLOTS)

    def changed(_job: Any, status: Any) -> None:
        if status.final:
            free.release()

    executor.set_job_status_callback(changed)
    with fresh_folder() as base:
        began = time.perf_counter()
        for number in range(count):
            free.acquire()
            folder = base / str(number)
            folder.mkdir()
            spec = psij.JobSpec(executable="/bin/true", directory=folder)
            spec.stdout_path, spec.stderr_path = folder / "stdout", folder / "stderr"
            executor.submit(psij.Job(spec))
        for _ in range(SLOTS):
            free.acquire()
        return time.perf_counter() - began


SYNCHRONOUS: dict[str, Callable[[int], float]] = {"floor": floor, "parsl": parsl, "psij": psij}
ASYNCHRONOUS = {"aiomig": aiomig_local, "run_process": run_process}


def run(name: str, backend: str, count: int) -> float:
    """Run a way by its name, and return the elapsed seconds."""
    if name in SYNCHRONOUS:
        return SYNCHRONOUS[name](count)
    return anyio.run(ASYNCHRONOUS[name], count, backend=backend)
