"""JobSpec: accepted values, normalisation, and every fault with its field and remedy."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._core.errors import SpecError
from aiomig._spec.jobspec import JobSpec
from aiomig._spec.mrsl import render
from aiomig._spec.values import InputFile, OutputFile, Remote, Resources


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with some files in it."""
    for name in ("a.csv", "b.csv", "run.sh", "tree/x.txt", "tree/sub/y.txt", "other/a.csv", "lit[1].txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "looped").mkdir()
    (tmp_path / "looped/again").symlink_to(tmp_path / "looped")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        JobSpec(**{"commands": "true", **fields})
    assert all(fault.problem and fault.remedy and str(fault) in str(caught.value) for fault in caught.value.faults)
    return [(fault.field, fault.remedy) for fault in caught.value.faults]


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"commands": ()}, "commands", "at least one"),
    ({"commands": None}, "commands", "command line"),
    ({"commands": 5}, "commands", "command line"),
    ({"commands": b"true"}, "commands", "command line"),
    ({"commands": ""}, "commands", "leave it out"),
    ({"commands": ["true", " \t"]}, "commands[1]", "leave it out"),
    ({"commands": ["true", 7]}, "commands[1]", "string"),
    ({"commands": "echo a\necho b"}, "commands", "several commands"),
    ({"commands": "echo a\r\necho b"}, "commands", "executable"),
    ({"commands": "echo a\u2028b"}, "commands", "executable"),
    ({"commands": "echo \ud800"}, "commands", "executable"),
    ({"commands": ["a\0b"]}, "commands[0]", "printf"),
    ({"inputs": "a.csv"}, "inputs", "inputs=["),
    ({"inputs": 5}, "inputs", "list"),
    ({"inputs": {"a.csv": "b"}}, "inputs", "list"),
    ({"inputs": ["a.csv", 5]}, "inputs[1]", "Remote"),
    ({"inputs": [None]}, "inputs[0]", "local path"),
    ({"inputs": ["a.csv", "nosuch.csv"]}, "inputs[1]", "check the path"),
    ({"inputs": ["broken"]}, "inputs[0]", "check the path"),
    ({"inputs": ["a.csv/x"]}, "inputs[0]", "check the path"),
    ({"inputs": ["x" * 300]}, "inputs[0]", "check the path"),
    ({"inputs": [""]}, "inputs[0]", "local file"),
    ({"inputs": ["a\0b"]}, "inputs[0]", "local file"),
    ({"inputs": ["\ud800"]}, "inputs[0]", "file system"),
    ({"inputs": ["fifo"]}, "inputs[0]", "copy"),
    ({"inputs": ["empty"]}, "inputs[0]", "mkdir"),
    ({"inputs": ["looped"]}, "inputs[0]", "link"),
    ({"inputs": ["*.nosuch"]}, "inputs[0]", "pattern"),
    ({"inputs": [("*.csv", "x")]}, "inputs[0]", "without a name"),
    ({"inputs": [b"content"]}, "inputs[0]", "name"),
    ({"inputs": [("a.csv", 5)]}, "inputs[0]", "(source, name)"),
    ({"inputs": [("a.csv", "b", "c")]}, "inputs[0]", "(source, name)"),
    ({"inputs": [("a.csv", "")]}, "inputs[0]", "name of a file"),
    ({"inputs": [("a.csv", "/etc/x")]}, "inputs[0]", "leading"),
    ({"inputs": [("a.csv", "../x")]}, "inputs[0]", "'..'"),
    ({"inputs": [("a.csv", "d/../../x")]}, "inputs[0]", "'..'"),
    ({"inputs": [("a.csv", "a\nb")]}, "inputs[0]", "printable"),
    ({"inputs": [("a.csv", "d/")]}, "inputs[0]", "file itself"),
    ({"inputs": [("a.csv", "é" * 128)]}, "inputs[0]", "shorter"),
    ({"inputs": [("a.csv", "d/" * 2000 + "x")]}, "inputs[0]", "shorter"),
    ({"inputs": [("a.csv", "d/.htaccess")]}, "inputs[0]", "another name"),
    ({"inputs": ["a.csv", "other/a.csv"]}, "inputs[1]", "own name"),
    ({"inputs": ["run.sh"], "executables": ["run.sh"]}, "executables[0]", "own name"),
    ({"inputs": [(b"", "d"), (b"", "d/e")]}, "inputs[1]", "rename"),
    ({"inputs": [(b"", "d/e"), (b"", "d")]}, "inputs[1]", "rename"),
    ({"inputs": ["https://host/"]}, "inputs[0]", "(url, name)"),
    ({"inputs": ["https://host/a?b=1"]}, "inputs[0]", "percent-encode"),
    ({"inputs": [("://x", "x")]}, "inputs[0]", "https://"),
    ({"inputs": [Remote("d/two words")]}, "inputs[0]", "session.files.move"),
    ({"inputs": [Remote("it's")]}, "inputs[0]", "session.files.move"),
    ({"inputs": [Remote("a#b")]}, "inputs[0]", "session.files.move"),
    ({"inputs": [Remote("../x")]}, "inputs[0]", "'..'"),
    ({"inputs": [Remote("")]}, "inputs[0]", "file in it"),
    ({"outputs": [("x", Remote("d/"))]}, "outputs[0]", "file itself"),
    ({"inputs": [Remote(".trash/x")]}, "inputs[0]", "another name"),
    ({"executables": ["nosuch"]}, "executables[0]", "check the path"),
    ({"outputs": "out.txt"}, "outputs", "outputs=["),
    ({"outputs": [5]}, "outputs[0]", "destination"),
    ({"outputs": [("a", 5)]}, "outputs[0]", "destination"),
    ({"outputs": [("a", None)]}, "outputs[0]", "destination"),
    ({"outputs": [Remote("a")]}, "outputs[0]", "destination"),
    ({"outputs": ["results/"]}, "outputs[0]", "tar"),
    ({"outputs": ["*.txt"]}, "outputs[0]", "tar"),
    ({"outputs": ["/tmp/x"]}, "outputs[0]", "leading"),
    ({"outputs": ["../x"]}, "outputs[0]", "'..'"),
    ({"outputs": ["a\0b"]}, "outputs[0]", "printable"),
    ({"outputs": ["a", ("b", "../x")]}, "outputs[1]", "'..'"),
    ({"outputs": [("b", "/etc/x")]}, "outputs[0]", "leading"),
    ({"outputs": [("b", "plots/")]}, "outputs[0]", "file itself"),
    ({"outputs": ["a", ("b", "./a")]}, "outputs[1]", "own name"),
    ({"outputs": [("a", Remote("r")), ("b", Remote("r"))]}, "outputs[1]", "own name"),
    ({"outputs": [("a", "https://h/r"), ("b", "https://h/r")]}, "outputs[1]", "own destination"),
    ({"outputs": [("a", Remote("r.status"))]}, "outputs[0]", "ending"),
    ({"outputs": [("a", Remote("d/.htaccess"))]}, "outputs[0]", "another name"),
    ({"outputs": [("a", Remote("../x"))]}, "outputs[0]", "'..'"),
    ({"outputs": [("a", Remote("a b"))]}, "outputs[0]", "another name"),
    ({"outputs": ["https://host/x"]}, "outputs[0]", "relative"),
    ({"resources": {"memory_mb": 4}}, "resources", "aiomig.Resources"),
    ({"resources": Resources(memory_mb="4 GB")}, "resources.memory_mb", "memory_mb=4096"),  # type: ignore[arg-type]
    ({"resources": Resources(memory_mb=1.5)}, "resources.memory_mb", "megabytes"),  # type: ignore[arg-type]
    ({"resources": Resources(wall_time="1h")}, "resources.wall_time", "seconds"),  # type: ignore[arg-type]
    ({"resources": Resources(wall_time=-1)}, "resources.wall_time", "seconds"),
    ({"resources": Resources(disk_gb=True)}, "resources.disk_gb", "gigabytes"),
    ({"resources": Resources(disk_gb=10**30)}, "resources.disk_gb", "gigabytes"),
    ({"resources": Resources(cores=0)}, "resources.cores", "at least 1"),
    ({"resources": Resources(nodes=0)}, "resources.nodes", "at least 1"),
    ({"resources": Resources(sandbox=1)}, "resources.sandbox", "True"),  # type: ignore[arg-type]
    ({"resources": Resources(fill=("ALL", "DISKS"))}, "resources.fill[1]", "CPUTIME"),
    ({"resources": Resources(fill="ALL")}, "resources.fill", "list"),  # type: ignore[arg-type]
    ({"resources": Resources(hosts=("a b",))}, "resources.hosts[0]", "letters"),
    ({"resources": Resources(architecture="")}, "resources.architecture", "leave it out"),
    ({"resources": Resources(max_price="1.5")}, "resources.max_price", "letters and digits"),
    ({"environment": ["A=1"]}, "environment", "dict"),
    ({"environment": {"A B": "1"}}, "environment['A B']", "letters, digits and _"),
    ({"environment": {"1A": "1"}}, "environment['1A']", "do not begin with a digit"),
    ({"environment": {5: "1"}}, "environment[5]", "letters, digits and _"),
    ({"environment": {"SEED": 7}}, "environment['SEED']", "{'SEED': '7'}"),
    ({"environment": {"A": "a\0b"}}, "environment['A']", "input"),
    ({"environment": {"A": "\ud800"}}, "environment['A']", "UTF-8"),
    ({"environment": {"UID": "0"}}, "environment['UID']", "another name"),
    ({"environment": {"MIG_JOBDIR": "/"}}, "environment['MIG_JOBDIR']", "another name"),
    ({"name": "my job"}, "name", "255"),
    ({"name": ""}, "name", "leave it out"),
    ({"name": 5}, "name", "name='…'"),
    ({"project": "a-b"}, "project", "letters and digits"),
    ({"kind": "a serial"}, "kind", "letters"),
    ({"retries": -1}, "retries", "retries=2"),
    ({"retries": False}, "retries", "retries=2"),
    ({"vgrids": "ANY"}, "vgrids", "vgrids=["),
    ({"vgrids": ["a\nb"]}, "vgrids[0]", "one line"),
    ({"runtime_environments": [5]}, "runtime_environments[0]", "string"),
    ({"notify": 5}, "notify", "list"),
    ({"notify": ["email: a\n\n::MEMORY::"]}, "notify[0]", "one line"),
    ({"verify": ["wanted.txt"]}, "verify", ".stdout"),
    ({"mount": ["a b c"]}, "mount[0]", "SOURCE"),
    ({"mount": 5}, "mount", "list"),
    ({"mrsl": "MEMORY"}, "mrsl", "dict"),
    ({"mrsl": {"MEMROY": 5}}, "mrsl['MEMROY']", "did you mean MEMORY"),
    ({"mrsl": {5: 5}}, "mrsl['5']", "use one of"),
    ({"mrsl": {"MEMORY": "4 GB"}}, "mrsl['MEMORY']", "digits"),
    ({"mrsl": {"MEMORY": 1.5}}, "mrsl['MEMORY']", "whole number"),
    ({"mrsl": {"MEMORY": 1, "memory": 2}}, "mrsl['MEMORY']", "once"),
    ({"mrsl": {"NOTIFY": "a\n\n::MEMORY::"}}, "mrsl['NOTIFY']", "one line"),
    ({"mrsl": {"EXECUTE": "true"}}, "mrsl['EXECUTE']", "leave one"),
    ({"mrsl": {"JOBNAME": "a"}, "name": "b"}, "mrsl['JOBNAME']", "leave one"),
    ({"mrsl": {"MEMORY": 5}, "resources": Resources(memory_mb=6)}, "mrsl['MEMORY']", "leave one"),
    ({"mrsl": {"INPUTFILES": "x"}, "inputs": ["a.csv"]}, "mrsl['INPUTFILES']", "leave one"),
    ({"mrsl": {"INPUTFILES": "a ../b"}}, "mrsl['INPUTFILES']", "'..'"),
    ({"mrsl": {"OUTPUTFILES": ["a", "a b.status"]}}, "mrsl['OUTPUTFILES']", "ending"),
]


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(("fields", "field", "word"), FAULTS)
def test_every_fault_has_its_field_and_remedy(fields: dict[str, Any], field: str, word: str) -> None:
    ((found, remedy),) = faults(**fields)
    assert found == field
    assert word in remedy


def test_all_faults_come_at_once(work: Path) -> None:
    found = faults(
        commands=["", "a\nb"],
        inputs=["nosuch", ("a.csv", "../x")],
        outputs=["d/", "*"],
        resources=Resources(cores=0, memory_mb=-1),
        environment={"A B": 1, "C": 2},
        name="a b",
        mrsl={"X": 1},
    )
    assert len(found) == 12


def test_an_unreadable_file_is_a_fault(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert faults(inputs=["a.csv"]) == [("inputs[0]", "change its permissions: chmod u+r")]


def test_an_unreadable_directory_is_a_fault(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert faults(inputs=["tree"]) == [("inputs[0]", "check the path and its permissions")]


def test_remote_wants_text() -> None:
    with pytest.raises(SpecError, match="PurePosixPath"):
        Remote(5)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="name"):
        Remote("x", name=5)  # type: ignore[arg-type]


def test_remote_is_normalised() -> None:
    assert Remote("/a//./b").path == Remote(PurePosixPath("a/b")).path == "a/b"
    assert Remote("a/../..").path == ".."
    assert Remote("a/").path == "a/"
    assert Remote("a", name="b").name == "b"


def test_commands_are_a_stripped_tuple() -> None:
    assert JobSpec("  echo a\t").commands == ("echo a",)
    assert JobSpec(["a ", "\tb"]).commands == ("a", "b")
    assert JobSpec(command for command in "ab").commands == ("a", "b")


def test_inputs_of_every_form(work: Path) -> None:
    spec = JobSpec(
        "true",
        inputs=[
            "a.csv",
            Path("b.csv"),
            (PurePosixPath("a.csv"), "d/./c"),
            ("tree", "t"),
            "lit[1].txt",
            "https://host/u.txt",
            ("ftp://host/", "v"),
            Remote("h/r.txt"),
            Remote("h/s", name="n"),
            (Remote("h/s"), PurePosixPath("m")),
            (b"x", "bytes"),
            "tree",
        ],
        executables=[work / "run.sh"],
    )
    assert spec.inputs == (
        InputFile(Path("a.csv"), "a.csv"),
        InputFile(Path("b.csv"), "b.csv"),
        InputFile(Path("a.csv"), "d/c"),
        InputFile(Path("tree/sub/y.txt"), "t/sub/y.txt"),
        InputFile(Path("tree/x.txt"), "t/x.txt"),
        InputFile(Path("lit[1].txt"), "lit[1].txt"),
        InputFile("https://host/u.txt", "u.txt"),
        InputFile("ftp://host/", "v"),
        InputFile(Remote("h/r.txt"), "r.txt"),
        InputFile(Remote("h/s", name="n"), "n"),
        InputFile(Remote("h/s"), "m"),
        InputFile(b"x", "bytes"),
        InputFile(Path("tree/sub/y.txt"), "tree/sub/y.txt"),
        InputFile(Path("tree/x.txt"), "tree/x.txt"),
    )
    assert spec.executables == (InputFile(work / "run.sh", "run.sh"),)
    assert "<1 bytes>" in repr(spec)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("tre?", ["tree/sub/y.txt", "tree/x.txt"]),
        ("tree/**", ["y.txt", "x.txt"]),
        ("lit[1].txt", ["lit[1].txt"]),
        ("./tree/", ["tree/sub/y.txt", "tree/x.txt"]),
    ],
)
def test_globs_and_directories_are_expanded_in_order(work: Path, pattern: str, names: list[str]) -> None:
    assert [file.name for file in JobSpec("true", inputs=[pattern]).inputs] == names
    absolute = JobSpec("true", inputs=[str(work / pattern)])
    assert [file.name for file in absolute.inputs] == names


def test_the_working_directory_itself(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work / "tree")
    assert [file.name for file in JobSpec("true", inputs=["."]).inputs] == ["tree/sub/y.txt", "tree/x.txt"]


def test_outputs_of_every_form() -> None:
    spec = JobSpec(
        "true",
        outputs=[
            "a",
            PurePosixPath("b"),
            ("./c", "d//e"),
            ("f", PurePosixPath("g")),
            ("h", Remote("i")),
            ("j", "ftp://k/l"),
        ],
    )
    assert spec.outputs == (
        OutputFile("a", "a"),
        OutputFile("b", "b"),
        OutputFile("c", "d/e"),
        OutputFile("f", "g"),
        OutputFile("h", Remote("i")),
        OutputFile("j", "ftp://k/l"),
    )


def test_the_environment_is_a_read_only_copy() -> None:
    given = {"A": "1"}
    spec = JobSpec("true", environment=given)
    given["A"] = "2"
    assert spec.environment == {"A": "1"}
    with pytest.raises(TypeError):
        spec.environment["A"] = "3"  # type: ignore[index]


def test_a_spec_is_frozen_and_can_be_copied_pickled_and_replaced(work: Path) -> None:
    spec = JobSpec("true", inputs=["a.csv", Remote("r")], outputs=["o"], environment={"A": "1"}, mrsl={"DISK": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(spec)) == spec == copy.deepcopy(spec) == dataclasses.replace(spec)
    assert dataclasses.replace(spec, name="n").name == "n"
    assert isinstance(pickle.loads(pickle.dumps(spec)).environment, type(spec.environment))


def test_lists_in_resources_become_tuples() -> None:
    spec = JobSpec("true", resources=Resources(hosts=["a_1"], fill=["DISK"]))  # type: ignore[arg-type]
    assert (spec.resources.hosts, spec.resources.fill) == (("a_1",), ("DISK",))


def test_raw_keywords_are_sent() -> None:
    raw = {"::memory::": 512, "SANDBOX": True, "VGRID": ["A", "B"], "NOTIFY": "x", "INPUTFILES": ["a b"]}
    spec = JobSpec("true", mrsl=raw)  # type: ignore[arg-type]
    assert spec.mrsl == {
        "MEMORY": ("512",),
        "SANDBOX": ("true",),
        "VGRID": ("A", "B"),
        "NOTIFY": ("x",),
        "INPUTFILES": ("a b",),
    }
    assert spec.plan("t").description.keywords == {"EXECUTE": ("true",), **spec.mrsl}


def test_mrsl_text_is_what_is_sent() -> None:
    spec = JobSpec("echo #", outputs=["o"])
    assert spec.mrsl_text() == render(spec.plan("example").description)
    assert "echo \\#" in spec.mrsl_text()


def lifted(*blocks: str) -> JobSpec:
    return JobSpec.from_mrsl("\n\n".join(["::EXECUTE::\ntrue", *blocks]))


def test_from_mrsl_leaves_absent_what_is_absent() -> None:
    spec = lifted()
    assert spec.resources == Resources(memory_mb=None)
    assert spec.mrsl_text() == "::EXECUTE::\ntrue\n"


def test_labels_are_in_the_description() -> None:
    labels = {"owner": "ada", "note": "$HOME # ä\\ ~ `id` +JOBID+ <b>", "empty": ""}
    spec = JobSpec("true", labels=labels, environment={"A": "1"})
    assert spec.plan("example").labels == spec.labels == labels
    again = JobSpec.from_mrsl(spec.mrsl_text())
    assert (again.labels, again.environment, again.mrsl) == (labels, {"A": "1"}, {})
    assert dataclasses.replace(spec, labels={}).mrsl_text() == JobSpec("true", environment={"A": "1"}).mrsl_text()
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    "value", ["", "owner", "b:1,a:2", "a:1,a:2", "a:%zz", "-a:1", "a:x y", "a:1\nAIOMIG_LABELS=a:1"]
)
def test_what_is_no_line_of_labels_stays_raw(value: str) -> None:
    spec = lifted(f"::ENVIRONMENT::\nAIOMIG_LABELS={value}")
    lines = tuple(f"AIOMIG_LABELS={value}".splitlines())
    assert (spec.labels, spec.mrsl) == ({}, {"ENVIRONMENT": lines})


def test_from_mrsl_fills_the_fields() -> None:
    spec = lifted(
        "::INPUTFILES::\n/a/x.txt\n./a/../b d/\nhttp://h:8/u.txt",
        "::EXECUTABLES::\ns.sh /run.sh",
        "::OUTPUTFILES::\n/o.txt\no.txt kept/\nw https://h/w",
        "::CPUTIME::\n10",
        "::MEMORY::\n0512",
        "::DISK::\n1",
        "::CPUCOUNT::\n2",
        "::NODECOUNT::\n3",
        "::RETRIES::\n0",
        "::ARCHITECTURE::\nX86",
        "::PLATFORM::\np",
        "::JOBTYPE::\nall",
        "::RESOURCE::\n*",
        "::VGRID::\nANY",
        "::MAXFILL::\nALL",
        "::SANDBOX::\nOff",
        "::NOTIFY::\nemail: a@b",
        "::JOBNAME::\nj",
        "::PROJECT::\np",
        "::MAXPRICE::\n1",
        "::MOUNT::\na b",
        "::VERIFYFILES::\nv.stdout",
        "::RUNTIMEENVIRONMENT::\nR",
        "::ENVIRONMENT::\nA=1\nB=$'x y'",
    )
    assert spec == JobSpec(
        "true",
        inputs=[(Remote("a/x.txt"), "a/x.txt"), (Remote("b"), "d"), ("http://h:8/u.txt", "h:8/u.txt")],
        executables=[(Remote("s.sh"), "run.sh")],
        outputs=[("o.txt", Remote("o.txt")), ("o.txt", Remote("kept")), ("w", "https://h/w")],
        resources=Resources(
            wall_time=10,
            memory_mb=512,
            disk_gb=1,
            cores=2,
            nodes=3,
            architecture="X86",
            platform="p",
            hosts=("*",),
            fill=("ALL",),
            sandbox=False,
            max_price="1",
        ),
        environment={"A": "1", "B": "x y"},
        name="j",
        project="p",
        kind="all",
        retries=0,
        vgrids=["ANY"],
        notify=["email: a@b"],
        mount=["a b"],
        verify=["v.stdout"],
        runtime_environments=["R"],
    )


@pytest.mark.parametrize(
    "lines", ["A=1\nB=two words", "E=$HOME/x", "A=1\nB=x$A\nA=2", "A=1\nA=1", "D='single'", "G=$(echo sub)"]
)
def test_an_environment_of_shell_words_stays_raw(lines: str) -> None:
    spec = lifted(f"::ENVIRONMENT::\n{lines}")
    assert spec.environment == {}
    assert spec.mrsl == {"ENVIRONMENT": tuple(lines.split("\n"))}
    assert spec.plan("t").description.lines("ENVIRONMENT") == tuple(lines.split("\n"))


def test_of_two_inputs_with_one_name_the_last_wins() -> None:
    spec = lifted("::INPUTFILES::\na/1 same\na/2 same\ns run", "::EXECUTABLES::\nt run")
    assert spec.inputs == (InputFile(Remote("a/2"), "same"),)
    assert spec.executables == (InputFile(Remote("t"), "run"),)


def test_of_two_outputs_with_one_destination_the_last_wins() -> None:
    assert lifted("::OUTPUTFILES::\na x\nb x").outputs == (OutputFile("b", Remote("x")),)


@pytest.mark.parametrize(
    ("block", "field", "word"),
    [
        ("::INPUTFILES::\na ../up.txt", "inputs[0]", "'..'"),
        ("::INPUTFILES::\n../a.txt a.txt", "inputs[0]", "'..'"),
        ("::INPUTFILES::\nin-quote/it's.txt", "inputs[0]", "session.files.move"),
        ("::INPUTFILES::\n.trash/a a", "inputs[0]", "another name"),
        ("::INPUTFILES::\na http://h/x", "inputs[0]", "relative"),
        ("::OUTPUTFILES::\na ../x", "outputs[0]", "'..'"),
        ("::OUTPUTFILES::\n../a x", "outputs[0]", "'..'"),
        ("::OUTPUTFILES::\na.txt out/result.status\nb.txt out/b.txt", "outputs[0]", "ending"),
        ("::OUTPUTFILES::\na.txt .out/a\na.txt out/.htaccess", "outputs[1]", "another name"),
        ("::OUTPUTFILES::\na it's", "outputs[0]", "another name"),
        ("::CPUTIME::\n1h", "CPUTIME", "digits"),
    ],
)
def test_from_mrsl_refuses_what_the_grid_loses(block: str, field: str, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        lifted(block)
    (fault,) = caught.value.faults
    assert fault.field == field
    assert word in fault.remedy


names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30)
line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(str.strip)


@given(
    st.lists(line, min_size=1, max_size=3),
    st.lists(st.tuples(st.binary(max_size=3), names), max_size=3),
    st.lists(st.tuples(names, names), max_size=3),
    st.dictionaries(st.from_regex("[a-z_]{3,5}z", fullmatch=True), line, max_size=3),
    st.lists(line, max_size=2),
)
def test_what_is_sent_says_the_same_when_read_again(
    commands: list[str],
    inputs: list[tuple[bytes, str]],
    outputs: list[tuple[str, str]],
    environment: dict[str, str],
    notify: list[str],
) -> None:
    try:
        spec = JobSpec(commands, inputs=inputs, outputs=outputs, environment=environment, notify=notify)
    except SpecError:
        spec = JobSpec(commands, environment=environment, notify=notify)
    text = spec.mrsl_text()
    again = JobSpec.from_mrsl(text)
    assert again.mrsl_text() == text
    assert again.environment == spec.environment
    assert again.notify == spec.notify
    assert JobSpec.from_mrsl(again.mrsl_text()) == again


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.just(Remote("x")),
    st.just(Resources()),
)
nested = st.recursive(
    anything,
    lambda inner: st.one_of(st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner)),
    max_leaves=4,
)


@given(
    st.sampled_from([field.name for field in dataclasses.fields(JobSpec)]),
    nested,
)
def test_bad_values_raise_nothing_but_spec_errors(field: str, value: Any) -> None:
    with contextlib.suppress(SpecError):
        spec = JobSpec(**{"commands": "true", field: value})
        assert JobSpec.from_mrsl(spec.mrsl_text()).mrsl_text() == spec.mrsl_text()


@given(st.sampled_from([field.name for field in dataclasses.fields(Resources)]), nested)
def test_bad_resources_raise_nothing_but_spec_errors(field: str, value: Any) -> None:
    with contextlib.suppress(SpecError):
        spec = JobSpec("true", resources=Resources(**{field: value}))
        assert JobSpec.from_mrsl(spec.mrsl_text()).mrsl_text() == spec.mrsl_text()
