"""A worker as a process of its own: it prints the id of each job that it has done."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from lockgate_shop.kit.data.jobs import create_worker

if TYPE_CHECKING:
    from uuid import UUID


def main(url: str, queue: str) -> None:
    """Do jobs of this queue until the process is killed."""

    async def job(job_id: UUID) -> None:
        sys.stdout.write(f"{job_id}\n")
        sys.stdout.flush()

    async def nothing() -> None:
        """Each minute."""

    asyncio.run(create_worker(url, queue, {"job": job}, each_minute=nothing, idle_s=30).run_async())


if __name__ == "__main__":
    main(*sys.argv[1:])
