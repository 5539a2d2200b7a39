"""Descriptions: `JobSpec` values and hand-written mRSL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import JobSpec, Remote, SpecError

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_spec_can_be_submitted_again_and_again(mig: aiomig.Session, tmp_path: Path) -> None:
    spec = JobSpec("cat i > o", inputs=[(b"x", "i")], outputs=["o"], environment={"A": "b"}, name="again")
    jobs = [await mig.submit(spec) for _ in range(2)]
    for job in jobs:
        assert job.spec is spec
        (path,) = await job.fetch(tmp_path / job.id)
        assert path.read_bytes() == b"x"


async def test_a_spec_and_fields_at_once_are_refused(mig: aiomig.Session) -> None:
    with pytest.raises(SpecError, match="name"):
        await mig.submit(JobSpec("true"), name="x")


@pytest.mark.usefixtures("no_new_job")
async def test_all_faults_are_told_at_once(mig: aiomig.Session) -> None:
    with pytest.raises(SpecError) as caught:
        await mig.submit("", inputs=["nosuch"], outputs=["*"], name="a b", environment={"1": ""}, mrsl={"NOSUCH": "x"})
    fields = {fault.field.partition("[")[0] for fault in caught.value.faults}
    assert {"commands", "inputs", "outputs", "name", "environment"} <= fields
    assert all(fault.problem and fault.remedy for fault in caught.value.faults)


@pytest.mark.usefixtures("no_new_job")
async def test_what_the_grid_would_refuse_is_rejected(mig: aiomig.Session) -> None:
    with pytest.raises((aiomig.SubmitRejected, SpecError), match="NoSuchVGrid"):
        await mig.submit("true", vgrids=["NoSuchVGrid"])
    with pytest.raises((aiomig.SubmitRejected, SpecError), match="NOSUCHRE"):
        await mig.submit("true", runtime_environments=["NOSUCHRE"])


async def test_a_description_written_by_hand(mig: aiomig.Session, tmp_path: Path, top: str) -> None:
    await mig.files.write_text(f"{top}/in/data.txt", "from the home\n")
    (tmp_path / "job.mRSL").write_text(
        "# a comment\n::EXECUTE::\ncat data.txt > out.txt # another\necho $NAME\n\n"
        f"::INPUTFILES::\n{top}/in/data.txt data.txt\n\n::OUTPUTFILES::\nout.txt {top}/kept/out.txt\n\n"
        "::ENVIRONMENT::\nNAME=value\n\n::JOBNAME::\nbyhand\n"
    )
    job = await mig.submit_mrsl(tmp_path / "job.mRSL")
    result = await job
    assert result.stdout == "value\n"
    assert [each.command for each in result.commands] == ["cat data.txt > out.txt", "echo $NAME"]
    assert await mig.files.read_text(f"{top}/kept/out.txt") == "from the home\n"
    assert job.spec is not None
    assert job.spec.inputs == ((Remote(f"{top}/in/data.txt"), "data.txt"),)


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
async def test_line_ends_of_another_system(mig: aiomig.Session, tmp_path: Path, prefix: bytes) -> None:
    (tmp_path / "job").write_bytes(prefix + b"::EXECUTE::\r\necho one\r\necho tw\xc3\xb8\r\n\r\n::RETRIES::\r\n0\r\n")
    assert (await (await mig.submit_mrsl(str(tmp_path / "job")))).stdout == "one\ntwø\n"


async def test_the_text_of_a_spec_is_a_description(mig: aiomig.Session, tmp_path: Path) -> None:
    spec = JobSpec(["echo '# \\ ::EXECUTE::'", 'echo "$A"'], environment={"A": "it's # <\\>"}, retries=1)
    (tmp_path / "job").write_text(spec.mrsl_text())
    direct, by_hand = await mig.submit(spec), await mig.submit_mrsl(tmp_path / "job")
    assert (await direct).stdout == (await by_hand).stdout == "# \\ ::EXECUTE::\nit's # <\\>\n"


async def test_faults_of_a_hand_written_description_have_lines(mig: aiomig.Session, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("::EXECUTE::\ntrue\n\n::CPUTIME::\nsoon\n\n::NOSUCH::\nx\n")
    with pytest.raises(SpecError) as caught:
        await mig.submit_mrsl(tmp_path / "job")
    assert [(fault.field, fault.line) for fault in caught.value.faults] == [("CPUTIME", 5), ("NOSUCH", 7)]


async def test_a_missing_or_undecodable_description(mig: aiomig.Session, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await mig.submit_mrsl(tmp_path / "nosuch")
    (tmp_path / "latin").write_bytes(b"::EXECUTE::\necho \xe9\n")
    with pytest.raises(SpecError, match="UTF-8"):
        await mig.submit_mrsl(tmp_path / "latin")


async def test_verification_of_the_output(mig: aiomig.Session, top: str) -> None:
    await mig.files.write_text(f"{top}/good.stdout", "value [0-9]+\n")
    await mig.files.write_text(f"{top}/bad.stdout", "another\n")
    jobs = [await mig.submit("echo value 42", verify=[f"{top}/{name}.stdout"]) for name in ("good", "bad")]
    good, bad = [await job.wait() for job in jobs]
    assert good.verified == "SUCCESS - stdout: OK"
    assert bad.verified is not None
    assert bad.verified.startswith("FAILURE - stdout: ")


@pytest.mark.job("echo $A $MIG_JOBCPUTIME", mrsl={"ENVIRONMENT": ["A=$((1 + 1))"], "CPUTIME": 42})
async def test_a_raw_keyword(job: aiomig.Job) -> None:
    assert await job.stdout() == "2 42\n"


@pytest.mark.usefixtures("no_new_job")
async def test_a_check_tells_all_and_submits_nothing(mig: aiomig.Session) -> None:
    report = await mig.check(["set -e", "echo (", "echo `"], kind="bulk", inputs=[Remote("nosuch/a"), (b"x", "i")])
    assert not report.ok
    assert [fault.field for fault in report.faults] == ["commands[1]", "JOBTYPE"]
    assert [warning.field for warning in report.warnings] == ["commands[0]", "inputs"]
    assert all(each.problem and each.remedy for each in (*report.faults, *report.warnings))
    assert [fault.field for fault in (await mig.check("", name="a b")).faults] == ["commands", "name"]
    good = await mig.check(JobSpec(["echo a", "exit 0"], outputs=["out.txt"]))
    assert (good.ok, good.faults, good.warnings) == (True, (), ())
    with pytest.raises(aiomig.JobNotFound):
        await mig.check(mig.job("9_nosuch"))
