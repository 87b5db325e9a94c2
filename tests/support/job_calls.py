"""Helpers that several tests share."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

from lockgate_shop.kit.data.jobs import Queue

ROOT = Path(__file__).parents[2]


WITHIN_S = 20


async def do_one_job(url: str, queue: str = "jobs") -> None:
    """Put a job, and have a worker, which is a process of its own, do it."""
    job_id = uuid4()
    await Queue(url, queue).put_job("job", job_id)
    argv = (sys.executable, "-m", "tests.support.job_worker", url, queue)
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            assert await process.stdout.readline() == f"{job_id}\n".encode()
    finally:
        process.kill()
        await process.communicate()
