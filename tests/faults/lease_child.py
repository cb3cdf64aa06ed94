"""A host of several that share a key: holds the lease when it can, and signs as long as it believes to have it.

    python -m tests.faults.lease_child <dsn> <name> <lease seconds> <file>

A signature is a line committed to the store and then, if the lease still holds, a line in the file: "epoch name n".
"""

from __future__ import annotations

import asyncio
import os
import sys

from keeper.errors import Fenced
from keeper.process.lease import Lease


async def sign(lease: Lease, file: int) -> None:
    n = 0
    while True:
        await asyncio.sleep(0)
        try:
            lease.check()  # before the signature
            n += 1
            line = f"{lease.epoch} {lease.holder} {n}\n".encode()
            await lease.commit(line)
            lease.check()  # before the send
            os.write(file, line)
        except Fenced:
            await asyncio.sleep(lease.seconds / 20)


async def main(dsn: str, name: str, seconds: str, path: str) -> None:
    lease = Lease(dsn, "key", name, float(seconds))
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with asyncio.TaskGroup() as group:
        group.create_task(lease.hold())
        group.create_task(sign(lease, file))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
