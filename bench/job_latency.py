"""One VM over a 1 KiB object, client to client, beside a plain GET of it."""

from __future__ import annotations

from typing import Any

from bench.common import (
    GUESTS,
    interleave,
    job,
    median,
    percentile,
    process_cluster,
    say,
)


def run(*, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Interleave jobs and GETs; `job_over_get` is the ratio of medians."""
    rounds = 20 if quick else 300
    with process_cluster() as (account, _):
        account.put("bench")
        account.put("bench", "kib", b"0123456789abcde\n" * 64)
        account.put("bench", "wc.wasm", (GUESTS / "wc.wasm").read_bytes())
        task = job("swift://~/bench/wc.wasm", "swift://~/bench/kib")
        if account.run(task).content.split() != [b"64", b"64", b"1024"]:
            raise RuntimeError("wc gave a wrong answer")
        say(f"{rounds} rounds of a job and a GET")
        samples = interleave(
            {
                "job": lambda: account.run(task),
                "get": lambda: account.get("bench", "kib"),
            },
            rounds,
        )
    figures = {
        "job_ms": round(1000 * median(samples["job"]), 2),
        "job_p99_ms": round(1000 * percentile(samples["job"], 99), 2),
        "get_ms": round(1000 * median(samples["get"]), 2),
        "get_p99_ms": round(1000 * percentile(samples["get"], 99), 2),
        "job_over_get": round(
            median(samples["job"]) / median(samples["get"]), 2
        ),
    }
    return figures, samples
