"""The least profit: no purchase is signed unless its bytes hold the contract to it, and the contract does hold it."""

from __future__ import annotations

from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from keeper.errors import Reverted
from keeper.protocols.abi import load
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain
DESK = load("keeper.protocols.options")["Desk"]
CHEAP = ("strategies.dutch.use=tests.worlds.cheap:CheapDutch", "strategies.instant.use=tests.worlds.cheap:CheapInstant")


async def running(scene: Scene, *sets: str) -> list[dict[str, Any]]:
    """What a live keeper logs until it has bought something, or was refused to."""
    plain = ("record.enabled=false", "strategies.sealed.protocols=[]", "strategies.quote.protocols=[]", *sets)
    command = ("run", "-c", scene.config, "--live", *(f"--set={one}" for one in plain))
    async with Process(*command) as keeper:
        await keeper.heard("turn.done")
        for _ in range(80):
            await keeper.heard("turn.done", block=scene.step().number)
            if bought(scene) or refused(keeper.events):
                break
        keeper.send(SIGTERM)
        assert await keeper.ended() == 0
        return keeper.events


def refused(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in said if line["event"] == "tx.refused" and line["why"] == "below_min_profit"]


def bought(scene: Scene) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every transaction of ours that has a floor, with the arguments of its ``run``."""
    found = [(tx, DESK.decode(bytes.fromhex(tx["input"][2:]))) for tx in scene.sent()]
    return [(tx, told[1]) for tx, told in found if told and told[1]["floors"]]


@pytest.mark.fault("T41", "T42", "A08", "P01")
async def test_who_asks_for_too_little_gets_no_signature_and_who_asks_for_enough_is_held_to_it(tmp_path: Path) -> None:
    with crash(tmp_path, 48) as scene:
        said = await running(scene, *CHEAP)
        assert bought(scene) == []
        assert "at least 5000000000000000000" in refused(said)[0]["detail"]
        await running(scene)
        [(tx, told), *_] = bought(scene)
        [(target, data, least)] = told["floors"]
        assert least >= 5 * 10**18
        calls = [(each[0], each[1]) for each in told["calls"]]
        was = scene.node.rpc("eth_getBlockByNumber", tx["blockNumber"], False)
        before, moment = hex(int(tx["blockNumber"], 16) - 1), {"time": was["timestamp"], "number": was["number"]}

        def tried(least: int) -> None:
            data_ = DESK.call("run", calls, [(target, data, least)], told["deadline"])
            call = {"from": tx["from"], "to": tx["to"], "data": f"0x{data_.hex()}"}
            scene.node.rpc("eth_call", call, before, {}, moment)

        tried(least)
        with pytest.raises(Reverted) as caught:
            tried(10**24)
        error = DESK.error(caught.value.data)
        assert error is not None and error[0] == "BelowFloor"
        _, change, _ = error[1]
        assert change >= least
        tried(change)  # it brings just that
