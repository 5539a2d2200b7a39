"""The machine as a session sees it: CPU quotas, and the place of another session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aiomig._local.liveness import Origin
from aiomig._local.settings import usable_cores

if TYPE_CHECKING:
    from pathlib import Path

V1 = "33 31 0:30 / {mount} rw - cgroup cgroup rw,cpu,cpuacct"
V2 = "33 31 0:30 / {mount} rw - cgroup2 cgroup2 rw"


def _machine(root: Path, mounts: list[str], groups: list[str], files: dict[str, str]) -> Path:
    for path, text in {
        "proc/self/mountinfo": "\n".join(["31 23 0:28 / / rw - ext4 /dev/vda rw", *mounts]),
        "proc/self/cgroup": "\n".join(groups),
        **files,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize(
    ("mount", "group", "files", "cores"),
    [
        (V2, "0::/", {"cg/cpu.max": "50000 100000\n"}, 1),
        (V2, "0::/a/b", {"cg/a/cpu.max": "150000 100000\n", "cg/a/b/cpu.max": "max 100000\n"}, 1),
        (V2, "0::/not/here", {"cg/cpu.max": "100000 100000\n"}, 1),
        (V2, "0::/", {"cg/cpu.max": "max 100000\n"}, None),
        (V2, "0::/", {"cg/cpu.max": "half\n"}, None),
        (V1, "1:cpu,cpuacct:/a", {"cg/a/cpu.cfs_quota_us": "50000\n", "cg/a/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, "1:cpu,cpuacct:/docker/1", {"cg/cpu.cfs_quota_us": "100000\n", "cg/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, "1:cpu,cpuacct:/", {"cg/cpu.cfs_quota_us": "-1\n", "cg/cpu.cfs_period_us": "100000\n"}, None),
        (V1, "3:memory:/", {"cg/cpu.cfs_quota_us": "50000\n", "cg/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_cpu_quotas_count_as_cores(
    tmp_path: Path, mount: str, group: str, files: dict[str, str], cores: int | None
) -> None:
    root = _machine(tmp_path, [mount.format(mount="/cg")], [group], files)
    assert usable_cores(root) == (cores or usable_cores(tmp_path / "nothing"))


def test_where_another_session_ran(tmp_path: Path) -> None:
    here = Origin.here()
    assert Origin.decode(here.encode()) == here
    assert here.place(tmp_path) == "here"
    assert Origin.decode(here.boot).place(tmp_path) == "here", "written by an earlier version"
    assert here._replace(namespace="pid:[1]").place(tmp_path) == "other container"
    assert here._replace(boot="before").place(tmp_path) == "before restart"
    assert here._replace(boot="before", host="elsewhere").place(tmp_path) == "before restart"


@pytest.mark.parametrize(("kind", "place"), [("nfs4", "other machine"), ("ext4", "before restart")])
def test_another_machine_is_recognised_on_a_shared_file_system(tmp_path: Path, kind: str, place: str) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"31 23 {os.major(device)}:{os.minor(device)} / / rw - {kind} server:/ rw\n")
    origin = Origin.here()._replace(boot="another")
    assert origin.place(tmp_path, str(mounts)) == "before restart", "the same host, after a restart"
    assert origin._replace(host="elsewhere").place(tmp_path, str(mounts)) == place
