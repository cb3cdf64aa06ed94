"""The configuration that an operator of a simulated world would write."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Final

from keeper.simulation.market import SMILE
from keeper.simulation.node import CHAIN_ID
from keeper.simulation.surface import Regime
from keeper.simulation.world import REGIMES, World

TEMPLATE: Final = """schema = 1

[keeper]
name  = "demo"
mode  = "live"
state = "{folder}/state"

[chains.local]
id            = {chain_id}
rpc           = "{rpc}"
block_time    = "{block_time}s"
confirmations = 1

[signers.main]
key = {{ file = "{folder}/key" }}

[protocols.options]
chain     = "local"
adapter   = "options"
desk      = "{desk}"
account   = "{desk}/0"
inventory = {inventory}
reserve   = "$100000"
pool_weight = "10 %"
publisher = "{publisher}"
rules     = [{rules}]
smiles    = [{smiles}]
floor     = "$200000"
contracts = {{ {contracts} }}

[strategies.upkeep]
use       = "strategies.upkeep:Upkeep"
protocols = ["options"]

[strategies.instant]
use       = "strategies.instant:Instant"
protocols = ["options"]

[strategies.sealed]
use       = "strategies.sealed:Sealed"
protocols = ["options"]
{sealed}
[strategies.quote]
use       = "strategies.quote:Quote"
protocols = ["options"]

[strategies.steward]
use       = "strategies.steward:Steward"
protocols = ["options"]

[strategies.dutch]
use       = "strategies.dutch:Dutch"
protocols = ["options"]
{dutch}
[risk]
max_inflight = 32
max_fee_per_hour = "2 ETH"
max_signatures = 100000
max_reverts = 1000

[record]
enabled = true
folder  = "{folder}/recording"
"""

# In a gap a bid must bring much; what a backstop pays is fixed, and small profits are left to him.
CAREFUL: Final = {
    "sealed": 'options   = { min_profit = "$700" }\n',
    "dutch": 'options   = { min_profit = "$2000" }\n',
}


def configure(world: World, folder: Path) -> Path:
    """Write ``keeper.toml`` and the key, valid in this world only, into ``folder``; forget what earlier worlds left."""
    rmtree(folder / "recording", ignore_errors=True)
    for journal in (folder / "state").glob("*.db*"):
        journal.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    key, file = folder / "key", folder / "keeper.toml"
    key.touch(mode=0o600)
    key.write_text(world.keeper.key.hex())
    file.write_text(
        TEMPLATE.format(
            folder=folder,
            chain_id=CHAIN_ID,
            rpc=world.node.ipc,
            block_time=world.block_time,
            desk=f"0x{world.desk.hex()}",
            inventory=list(world.stock),
            rules=", ".join(['{ deviation = "0.5 %", heartbeat = "5s" }'] * len(world.stock)),
            publisher=f"0x{world.publisher.address.hex()}",
            smiles=", ".join(map(_smile, REGIMES[: len(world.stock)])),
            contracts=_contracts(world),
            **(CAREFUL if world.size.harsh else dict.fromkeys(CAREFUL, "")),
        )
    )
    return file


def _smile(regime: Regime) -> str:
    """How a publisher of this world sends, and what he sends."""
    deviation, response = SMILE.deviation / 10_000, regime.response * 100
    return f'{{ deviation = "{deviation:g} %", heartbeat = "{SMILE.heartbeat}s", response = "{response:g} %" }}'


def _contracts(world: World) -> str:
    c = world.contracts
    single = {
        name: f'"0x{getattr(c, name).hex()}"'
        for name in ("clearing", "liquidator", "oracle", "params", "waterfall", "sealed", "quotes")
    }
    lists = {name: ", ".join(f'"0x{a.hex()}"' for a in getattr(c, name)) for name in ("tokens", "pools")}
    pairs = {**single, **{name: f"[{value}]" for name, value in lists.items()}, "since": c.since}
    return ", ".join(f"{name} = {value}" for name, value in pairs.items())
