"""Folders of the home as inputs of jobs."""

from __future__ import annotations

import pytest

import aiomig
from aiomig import JobSpec, Remote, SpecError

CARRIED = ("a.txt", ".dot", "sub/deep/b.txt")


@pytest.fixture
async def folder(mig: aiomig.Session, top: str) -> str:
    """A folder of the home with files, one of them hidden, and an empty folder."""
    for name in CARRIED:
        await mig.files.write_text(f"{top}/data/{name}", f"{name}\n")
    await mig.files.mkdir(f"{top}/data/empty")
    return f"{top}/data/"


async def test_a_folder_is_an_input_under_its_name(mig: aiomig.Session, folder: str) -> None:
    job = await mig.submit("find data -type f | sort; cat data/sub/deep/b.txt", inputs=[Remote(folder)])
    assert (await job).stdout.split() == ["data/.dot", "data/a.txt", "data/sub/deep/b.txt", "sub/deep/b.txt"]
    assert job.spec is not None
    assert len(job.spec.inputs) == 3


@pytest.mark.parametrize(("name", "found"), [("in", "in/a.txt"), ("x/y/", "x/y/a.txt"), (".", "a.txt")])
async def test_a_folder_under_another_name(mig: aiomig.Session, folder: str, name: str, found: str) -> None:
    job = await mig.submit(f"cat {found}", inputs=[(Remote(folder), name), (b"", "other")])
    assert (await job).stdout == "a.txt\n"


async def test_executables_in_a_folder(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/bin/hello", "#!/bin/sh\necho hello\n")
    assert (await (await mig.submit("bin/hello", executables=[Remote(f"{top}/bin/")]))).stdout == "hello\n"


async def test_many_jobs_share_a_folder(mig: aiomig.Session, folder: str) -> None:
    specs = [JobSpec(f"echo {number}; cat data/a.txt", inputs=[Remote(folder)]) for number in range(3)]
    jobs = await mig.submit_many(specs)
    assert [(await job).stdout for job in jobs] == [f"{number}\na.txt\n" for number in range(3)]
    async with mig.sweep(lambda number: specs[number], range(3)) as sweep:
        assert sorted([(await job).stdout async for job in sweep]) == [f"{number}\na.txt\n" for number in range(3)]


async def test_what_is_no_folder_makes_no_job(mig: aiomig.Session, folder: str, top: str) -> None:
    before = await mig.jobs(newest=1)
    wrong = {
        f"{top}/missing/": "is not in the MiG home",
        f"{folder}a.txt/": "is a file",
        f"{folder}empty/": "without files",
    }
    for path, words in wrong.items():
        with pytest.raises(SpecError, match=words):
            await mig.submit("true", inputs=[Remote(path)])
        report = await mig.check("true", executables=[Remote(path)])
        assert words in str(report)
    with pytest.raises(aiomig.SubmitErrors) as caught:
        await mig.submit_many([JobSpec("true"), JobSpec("true", inputs=[Remote(f"{top}/missing/")])])
    assert "is not in the MiG home" in str(caught.value.outcomes[1])
    assert await mig.jobs(newest=1) == before


async def test_two_files_of_one_name_are_refused(mig: aiomig.Session, folder: str) -> None:
    with pytest.raises(SpecError, match="taken by"):
        await mig.submit("true", inputs=[Remote(folder), (b"", "data/a.txt")])
    job = await mig.submit("cat data/other data/a.txt", inputs=[Remote(folder), (b"x\n", "data/other")])
    assert (await job).stdout == "x\na.txt\n"


async def test_a_check_looks_into_folders(mig: aiomig.Session, folder: str) -> None:
    assert (await mig.check("cat data/a.txt", inputs=[Remote(folder)])).ok
