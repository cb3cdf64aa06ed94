"""``--fork``: everything is really executed, on a chain of our own, and nothing reaches the original."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from keeper import bootstrap
from keeper.errors import Broken, ChainLost, Misconfigured
from keeper.model import Effect, Kind, Outcome, Record, Turn
from keeper.simulation.node import CHAIN_ID, FORK_CHAIN_ID
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 59, rivals=1) as scene:
        yield scene


@dataclass
class Witness:
    won: list[Outcome] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # hashes of what was included

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Outcome) and effect.won:
            self.won.append(effect)
        if isinstance(effect, Record) and effect.event == "tx.included":
            self.sent.append("0x" + effect.fields["tx"].hex())

    def turn(self, turn: Turn) -> None: ...


def state(scene: Scene) -> dict[str, Any]:
    """What would change if anything reached the original."""
    w, rpc = scene.world, scene.node.rpc
    return {
        "head": rpc("eth_getBlockByNumber", "latest", True),  # number, hash and state root among it
        "pool": rpc("txpool_status"),
        "nonce": rpc("eth_getTransactionCount", w.keeper.address, "latest"),
        "coin": rpc("eth_getBalance", w.keeper.address, "latest"),
        "tokens": [rpc("eth_call", {"to": t, "data": w.c["Token"].call("balanceOf", w.desk)}) for t in w.dep.tokens],
    }


@pytest.mark.parametrize("transport", ["url", "ws", "ipc"])
async def test_it_acts_on_the_fork_and_the_original_stays_as_it_was(transport: str, scene: Scene) -> None:
    before, witness = state(scene), Witness()
    mode = bootstrap.Fork(str(getattr(scene.node, transport)), None)
    async with bootstrap.keeper(scene.settings(), mode, [witness]) as keeper:
        assert await keeper.node.chain_id() == FORK_CHAIN_ID
        await keeper.daemon.run(10)
        raws = [await keeper.node._rpc.call("eth_getRawTransactionByHash", tx) for tx in witness.sent]
    assert {Kind.FLAG, Kind.COMMIT} <= {outcome.kind for outcome in witness.won}
    assert state(scene) == before
    for raw in raws:
        with pytest.raises(Broken, match="invalid chain id"):
            scene.node.rpc("eth_sendRawTransaction", raw)


async def test_from_the_command_line_at_a_block_of_the_past(scene: Scene) -> None:
    before, past = state(scene), scene.world.book.ref.number - 10
    async with Process("run", "-c", scene.config, "--fork", f"{scene.node.url}@{past}", "--blocks", 3) as keeper:
        assert (await keeper.heard("run.starting"))["mode"] == "fork"
        assert (await keeper.heard("run.ended"))["block"] == past + 2
        assert await keeper.ended() == 0
    assert state(scene) == before


async def test_only_the_configured_chain_is_forked(scene: Scene) -> None:
    settings = scene.settings(f"chains.local.id={FORK_CHAIN_ID}")
    with pytest.raises(Misconfigured, match=f"the node is on chain {CHAIN_ID}, not {FORK_CHAIN_ID}"):
        async with bootstrap.keeper(settings, bootstrap.Fork(scene.node.url, None)):
            pass


async def test_a_node_that_cannot_be_forked_because_it_is_not_there(scene: Scene) -> None:
    with pytest.raises(ChainLost, match="the node does not answer"):
        async with bootstrap.keeper(scene.settings(), bootstrap.Fork("http://127.0.0.1:1", None)):
            pass
