"""What a stolen hot key could do with the desk: nothing that is not listed, and nothing for somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from keeper.errors import Reverted
from keeper.protocols.abi import load
from tests.worlds.market import Scene, crash
from tests.worlds.process import Process

pytestmark = pytest.mark.chain
OPTIONS = load("keeper.protocols.options")
THIEF = b"\x66" * 20


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("world"), 1, accounts=4) as scene:
        yield scene


def refused(scene: Scene, target: bytes, data: bytes, sender: bytes | None = None) -> str:
    """With which error the desk refuses to make a call."""
    world = scene.world
    run = OPTIONS["Desk"].call("run", [(target, data)], [], 2**40)
    with pytest.raises(Reverted) as caught:
        world.node.rpc("eth_call", {"from": sender or world.keeper.address, "to": world.desk, "data": run}, "latest")
    error = OPTIONS["Desk"].error(caught.value.data)
    assert error is not None
    return error[0]


def withdrawal(scene: Scene, to: bytes) -> bytes:
    account = int.from_bytes(scene.world.desk)
    return OPTIONS["Clearing"].call("withdraw", account, 0, 1, "0x" + to.hex())


@pytest.mark.fault("P09")
def test_what_is_withdrawn_goes_to_the_desk_and_to_nobody_else(scene: Scene) -> None:
    clearing = scene.world.contracts.clearing
    assert refused(scene, clearing, withdrawal(scene, THIEF)) == "NotPinned"
    assert refused(scene, clearing, withdrawal(scene, scene.world.keeper.address)) == "NotPinned"


@pytest.mark.fault("P05", "P07")
@pytest.mark.parametrize("signature", ["transfer(address,uint256)", "approve(address,uint256)"])
def test_a_call_that_is_not_listed_is_not_made(scene: Scene, signature: str) -> None:
    data = keccak(text=signature)[:4] + THIEF.rjust(32, b"\0") + (1).to_bytes(32)
    assert refused(scene, scene.world.contracts.tokens[0], data) == "NotAllowed"


@pytest.mark.fault("X03")
def test_the_owner_can_take_the_right_away_on_chain(scene: Scene) -> None:
    world = scene.world
    clearing, owner = world.contracts.clearing, world.owner.address
    snapshot = world.node.snapshot()
    world.node.rpc("anvil_impersonateAccount", owner)
    world.node.set_balance(owner, 10**18)
    revoke = OPTIONS["Desk"].call("setOperator", "0x" + world.keeper.address.hex(), False)
    world.node.rpc("eth_sendTransaction", {"from": owner, "to": world.desk, "data": revoke})
    world.node.mine()
    said = refused(scene, clearing, withdrawal(scene, world.desk))
    world.node.revert(snapshot)
    assert said == "Unauthorised"
    assert refused(scene, clearing, withdrawal(scene, world.desk), THIEF) == "Unauthorised"


@pytest.mark.fault("K09")
async def test_a_hot_key_that_owns_the_desk_is_refused(scene: Scene, tmp_path: Path) -> None:
    key, config = tmp_path / "key", tmp_path / "keeper.toml"
    key.touch(mode=0o600)
    key.write_text(scene.world.owner.key.hex())
    config.write_text(scene.config.read_text().replace(str(scene.config.parent / "key"), str(key)))
    sets = ("record.enabled=false", f"keeper.state={tmp_path / 'state'}")
    async with Process("run", "-c", config, "--live", *(f"--set={one}" for one in sets)) as keeper:
        assert await keeper.ended() == 3
    assert "owns the desk" in keeper.said
