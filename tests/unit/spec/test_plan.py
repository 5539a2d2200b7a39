"""From a spec to its description for the server: aliases, aiomig's own lines, uploads, the environment."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomig._core.errors import SpecError
from aiomig._spec.jobspec import JobSpec
from aiomig._spec.mrsl import parse
from aiomig._spec.plan import PlannedOutput, Upload
from aiomig._spec.quoting import quote, unquote
from aiomig._spec.values import Remote, Resources

if TYPE_CHECKING:
    from pathlib import Path


def test_a_command_needs_no_folder() -> None:
    plan = JobSpec("true").plan("t")
    assert plan.description.keywords == {"EXECUTE": ("true",), "MEMORY": ("1024",)}
    assert (plan.uploads, plan.outputs, plan.folder, plan.prologue_lines, plan.epilogue_lines) == (
        (),
        (),
        None,
        0,
        0,
    )


def test_fields_become_keywords() -> None:
    spec = JobSpec(
        ["a", "b"],
        resources=Resources(
            wall_time=60,
            memory_mb=None,
            disk_gb=2,
            cores=3,
            nodes=4,
            architecture="AMD64",
            platform="linux",
            fill=("ALL",),
            hosts=("*",),
            sandbox=True,
            max_price="10",
        ),
        environment={"A": "1"},
        name="n",
        runtime_environments=["R"],
        vgrids=["ANY"],
        retries=0,
        notify=["email: x@y"],
        verify=["w.stdout"],
        mount=[("home", "mnt"), "a b"],
        project="p",
        kind="bulk",
    )
    assert spec.plan("t").description.keywords == {
        "EXECUTE": ("a", "b"),
        "CPUTIME": ("60",),
        "DISK": ("2",),
        "CPUCOUNT": ("3",),
        "NODECOUNT": ("4",),
        "ARCHITECTURE": ("AMD64",),
        "PLATFORM": ("linux",),
        "MAXFILL": ("ALL",),
        "RESOURCE": ("*",),
        "SANDBOX": ("true",),
        "MAXPRICE": ("10",),
        "ENVIRONMENT": ("A=1",),
        "JOBNAME": ("n",),
        "RUNTIMEENVIRONMENT": ("R",),
        "VGRID": ("ANY",),
        "RETRIES": ("0",),
        "NOTIFY": ("email: x@y",),
        "VERIFYFILES": ("w.stdout",),
        "MOUNT": ("home mnt", "a b"),
        "PROJECT": ("p",),
        "JOBTYPE": ("bulk",),
    }


def test_safe_names_are_staged_as_they_are(tmp_path: Path) -> None:
    data = tmp_path / "7.csv"
    data.write_text("7")
    script = tmp_path / "run.sh"
    script.write_text("true")
    spec = JobSpec(
        "true",
        inputs=[(data, "d/data.csv"), Remote("home/x.txt"), ("https://host/u.txt", "u")],
        executables=[script],
        outputs=["out.txt", ("fit.png", "plots/7.png"), ("r", Remote("kept/r")), ("w", "https://host/w")],
    )
    plan = spec.plan("t")
    lines = plan.description.keywords
    assert lines["EXECUTE"] == ("true",)
    assert lines["INPUTFILES"] == (
        "aiomig_jobs/t/in/data.csv d/data.csv",
        "home/x.txt x.txt",
        "https://host/u.txt u",
    )
    assert lines["EXECUTABLES"] == ("aiomig_jobs/t/in/run.sh run.sh",)
    assert lines["OUTPUTFILES"] == (
        "out.txt aiomig_jobs/t/out/out.txt",
        "fit.png aiomig_jobs/t/out/plots/7.png",
        "r kept/r",
        "w https://host/w",
    )
    assert plan.uploads == (
        Upload(data, "aiomig_jobs/t/in/data.csv"),
        Upload(script, "aiomig_jobs/t/in/run.sh"),
    )
    assert plan.outputs == (
        PlannedOutput("out.txt", "aiomig_jobs/t/out/out.txt", "out.txt"),
        PlannedOutput("fit.png", "aiomig_jobs/t/out/plots/7.png", "plots/7.png"),
        PlannedOutput("r", "kept/r", None),
        PlannedOutput("w", "https://host/w", None),
    )
    assert plan.folder == "aiomig_jobs/t"
    assert (plan.prologue_lines, plan.epilogue_lines) == (0, 0)


def test_only_remote_files_need_no_folder() -> None:
    plan = JobSpec("true", inputs=[Remote("a")], outputs=[("b", Remote("c"))]).plan("t")
    assert plan.folder is None
    assert plan.uploads == ()


def test_one_file_under_two_names_is_uploaded_once(tmp_path: Path) -> None:
    data = tmp_path / "a"
    data.touch()
    plan = JobSpec("true", inputs=[(data, "x"), (data, "y"), (b"1", "z/x"), (b"1", "w")]).plan("t")
    assert [upload.path for upload in plan.uploads] == ["aiomig_jobs/t/in/x", "aiomig_jobs/t/in/aiomig-in-1"]
    assert plan.description.lines("INPUTFILES") == (
        "aiomig_jobs/t/in/x x",
        "aiomig_jobs/t/in/x y",
        "aiomig_jobs/t/in/aiomig-in-1 z/x",
        "aiomig_jobs/t/in/aiomig-in-1 w",
    )


def test_one_output_to_two_places_is_sent_once() -> None:
    plan = JobSpec("true", outputs=[("a", "1"), ("a", "2"), ("a", Remote("r"))]).plan("t")
    assert plan.description.lines("OUTPUTFILES") == ("a aiomig_jobs/t/out/1", "a r")
    assert [output.destination for output in plan.outputs] == ["1", "2", None]


def test_one_odd_output_to_two_places_has_one_alias() -> None:
    plan = JobSpec("true", outputs=["ø", ("ø", Remote("r")), ("x y", Remote("s"))]).plan("t")
    assert plan.description.lines("OUTPUTFILES") == (
        "aiomig-out-1 aiomig_jobs/t/out/aiomig-out-1",
        "aiomig-out-1 r",
        "aiomig-out-2 s",
    )


def test_what_mig_carries_from_the_home_gets_no_line_of_ours() -> None:
    spec = JobSpec("true", inputs=[Remote("in/blåbær-é.txt"), Remote("a+%&=;b")], outputs=[("ø", Remote("ø"))])
    plan = spec.plan("t")
    assert plan.description.lines("INPUTFILES") == ("in/blåbær-é.txt blåbær-é.txt", "a+%&=;b a+%&=;b")
    assert plan.description.lines("OUTPUTFILES") == ("ø ø",)
    assert (plan.prologue_lines, plan.epilogue_lines) == (0, 0)


def test_executables_with_names_special_in_the_shell_get_an_alias() -> None:
    plan = JobSpec("true", executables=[Remote("a;b"), Remote("c")]).plan("t")
    assert plan.description.lines("EXECUTABLES") == ("a;b aiomig-in-1", "c c")
    assert plan.prologue_lines == 1


NAMES = [
    "two words.txt",
    "it's",
    "-rf",
    ".hidden",
    "ünï/cödé 漢.txt",
    'quote"d',
    "a$HOME`b`",
    "x;y&z|(",
    "#hash",
    "back\\slash",
    "res.status",
    "d e/f g/h",
    "*star",
    "aiomig-in-1 ",
    "!bang",
    "+JOBID+ x",
    "%s %(x)s",
    "<in>",
]


def _run(lines: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    script = "\n".join(lines)
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={"MIG_JOBDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_odd_input_names_arrive_in_the_job(name: str, tmp_path: Path) -> None:
    plan = JobSpec("true", inputs=[(b"1", name), (b"2", "plain")], executables=[(b"3", "d/odd (1)")]).plan("t")
    assert plan.prologue_lines == 1
    lines = (*plan.description.lines("INPUTFILES"), *plan.description.lines("EXECUTABLES"))
    uploads = {upload.path: upload.source for upload in plan.uploads}
    for line in lines:
        path, destination = line.split(" ")
        content = uploads[path]
        assert isinstance(content, bytes)
        (tmp_path / destination).write_bytes(content)
    done = _run(plan.description.lines("EXECUTE")[:1], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / name).read_bytes() == b"1"
    assert (tmp_path / "d/odd (1)").read_bytes() == b"3"
    assert not list(tmp_path.glob("aiomig-in-?"))


@pytest.mark.parametrize("name", [name for name in NAMES if "*" not in name])
@pytest.mark.parametrize("there", [True, False])
def test_odd_output_names_leave_the_job(name: str, there: bool, tmp_path: Path) -> None:
    plan = JobSpec("true", outputs=[(name, "kept"), "missing one", "plain"]).plan("t")
    assert plan.epilogue_lines == 1
    alias = plan.description.lines("OUTPUTFILES")[0].partition(" ")[0]
    assert plan.outputs[0].path == "aiomig_jobs/t/out/kept"
    if there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    done = _run(("cd /", "PATH=/nowhere", "set -eu", plan.description.lines("EXECUTE")[-1], "pwd"), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "/\n", "")
    assert (tmp_path / alias).exists() is there


def test_aliases_stay_clear_of_the_users_names() -> None:
    plan = JobSpec("true", inputs=[(b"1", "aiomig-in-1"), (b"2", "a b")], outputs=["aiomig-out-1", "c d"]).plan("t")
    assert plan.description.lines("INPUTFILES")[1].endswith(" aiomig-in-2")
    assert plan.description.lines("OUTPUTFILES")[1].startswith("aiomig-out-2 ")
    assert len({upload.path for upload in plan.uploads}) == 2


@pytest.mark.parametrize("token", ["", "..", "a/b", ".x", "-x", "a b", "x" * 300, "a\n", "é"])
def test_a_token_that_cannot_name_a_folder_is_refused(token: str) -> None:
    with pytest.raises(SpecError, match="token"):
        JobSpec("true").plan(token)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("", ""),
        ("simple", "simple"),
        ("/a:b,c=d@e%-._", "/a:b,c=d@e%-._"),
        ("two words", "$'two words'"),
        ("+JOBID+", "$'\\x2bJOBID\\x2b'"),
        ("a'b", "$'a\\x27b'"),
        ("\n", "$'\\x0a'"),
        ("é", "$'\\xc3\\xa9'"),
        ("é1", "$'\\xc3\\xa91'"),
        ("~", "$'~'"),
        ("<>#\\", "$'\\x3c\\x3e\\x23\\x5c'"),
        ("\udcff", "$'\\xff'"),
    ],
)
def test_quote(value: str, word: str) -> None:
    assert quote(value) == word
    assert unquote(word) == value


@pytest.mark.parametrize(
    "word",
    [
        "two words",
        "$HOME/x",
        '"a"',
        "'a'",
        "~",
        "$'a",
        "$'\\n'",
        "$'\\x41'",
        "$'a'",
        "$'\\x00 '",
        "$(x)",
        "a'b",
        "$'a'b'",
        "x\n",
    ],
)
def test_only_our_own_words_are_unquoted(word: str) -> None:
    assert unquote(word) is None


variables = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(variables, min_size=1, max_size=6))
def test_environment_values_arrive_literally_through_mrsl_and_bash(values: list[str]) -> None:
    environment = {f"V{position}": value for position, value in enumerate([*values, "a\nb\r", "+JOBID+", "é'\\#<"])}
    lines = parse(JobSpec("true", environment=environment).mrsl_text()).lines("ENVIRONMENT")
    assert not any(set(line) & set("<>+") for line in lines)
    script = "".join(f"export {line}\n" for line in lines)
    names = " ".join(f'"${name}"' for name in environment)
    done = subprocess.run(["bash", "-c", f"{script}printf '%s\\0' {names}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [value.encode() for value in environment.values()]


@given(st.dictionaries(st.from_regex("[A-Z_]{3,8}x", fullmatch=True), variables, max_size=4))
def test_environment_comes_back_from_mrsl(environment: dict[str, str]) -> None:
    spec = JobSpec("true", environment=environment)
    assert JobSpec.from_mrsl(spec.mrsl_text()).environment == environment
