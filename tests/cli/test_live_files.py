"""The commands ``send-live`` and ``get-live``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomig.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done

    Cli = Callable[..., Done]


def test_files_are_copied_to_and_from_a_running_job(local: Cli) -> None:
    wait = "echo half > half.dat; echo begun; until [ -e new/go ]; do sleep 0.05; done"
    job_id = local("submit", wait).out.strip()
    assert local("tail", "--lines", "1", job_id).code == 0
    while (sent := local("send-live", job_id, "half.dat", "--to", "out")).code != 0:
        assert "half.dat" in sent.stderr
    assert sent.out == "out/half.dat\n"
    assert local("cat", "out/half.dat").out == "half\n"
    local("touch", "go")
    assert local("get-live", "--json", job_id, "go", "--to", "new").json == ["new/go"]
    assert local("wait", job_id).code == 0
    ended = local("send-live", job_id)
    assert (ended.code, "it is FINISHED" in ended.stderr) == (ExitCode.FAILURE, True)
    assert local("send-live", "nosuch").code == ExitCode.NOT_FOUND
