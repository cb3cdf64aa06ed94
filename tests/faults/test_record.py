"""``keeper record`` with several endpoints: one that leaves costs no block."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.faults.test_rpc_daemon import proxies
from tests.worlds.market import crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.mark.fault("R02", "R06")
@pytest.mark.parametrize("gone", [0, 1])
async def test_an_endpoint_that_leaves_costs_no_block(gone: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with crash(tmp_path, 1, accounts=4) as scene:
        async with proxies(scene, tmp_path, 2) as nodes:
            where = f"chains.local.rpc={json.dumps([str(node.http) for node in nodes])}"
            command = ("record", "-c", scene.config, "--out", out, f"--set={where}", "--set=chains.local.block_time=1s")
            async with Process(*command) as keeper:
                await keeper.heard("record.began")
                first = scene.step().number
                await keeper.heard("block.recorded", block=first)
                await nodes[gone].leave()
                last = scene.step(5).number
                await keeper.heard("block.recorded", block=last)
                await nodes[gone].return_()
                last = scene.step(2).number
                await keeper.heard("block.recorded", block=last)
                keeper.send(SIGTERM)
                assert await keeper.ended() == 0
    written = [json.loads(line)["number"] for line in gzip.decompress((out / "blocks.jsonl.gz").read_bytes()).split()]
    assert written == list(range(first, last + 1))
