"""The examples' documents are jobs (functests run them)."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerocloud.job.description import parse_job
from zerocloud.job.limits import JobCaps
from zerocloud.job.template import parse_script

EXAMPLES = Path(__file__).parent.parent / "examples"
JOBS = sorted(EXAMPLES.glob("*/*.json"))


@pytest.mark.parametrize(
    "path", JOBS, ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_example_job_is_one(path: Path) -> None:
    job = parse_job(path.read_bytes(), account="AUTH_a", caps=JobCaps())
    assert len(job.groups) == 1


def test_example_script_is_one() -> None:
    body = (EXAMPLES / "hello" / "hello.py").read_bytes()
    script = parse_script(body, account="AUTH_a", caps=JobCaps())
    assert script.job.groups[0].name == "script"


def test_every_example_explains_itself() -> None:
    folders = [p for p in EXAMPLES.iterdir() if p.is_dir()]
    assert len(folders) >= 10
    for folder in folders:
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text.startswith("# "), folder.name
        assert "```sh\n" in text, folder.name
