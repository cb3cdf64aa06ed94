"""What an intent would do: behind the calls that it relies on, in one block, where the node can do that."""

from __future__ import annotations

from keeper.model import Address, BlockRef, Moment, TxIntent
from keeper.ports import Bundled, Simulation, StateReader


async def trial(node: StateReader, intent: TxIntent, sender: Address, at: Moment | None, head: BlockRef) -> Simulation:
    """On the state after ``head``, as if executed ``at``, with the gas that it will have.

    Without that moment, and where the node cannot put calls before it, in the block that it would make now.
    """
    if intent.behind and at and isinstance(node, Bundled):
        return await node.behind(intent.behind, intent.call, sender, head.hash, at, intent.gas_limit)
    state = None if at is None or intent.behind else head.hash
    return await node.call(intent.call, sender, state, at=at, gas=intent.gas_limit)
