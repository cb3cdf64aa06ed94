"""What people do to the clearing house by name, and what it answers when it refuses."""

from __future__ import annotations

from typing import Any

from keeper.errors import Reverted
from keeper.model import Address
from tests.worlds.options import OptionsWorld


def act(w: OptionsWorld, contract: str, function: str, *args: Any, sender: Address | None = None) -> Any:
    """Send it in the next block; Broken when it fails."""
    to: Address = getattr(w.dep, contract.lower())
    return w.send(sender or w.governor, to, w.c[contract].call(function, *args))


def refusal(
    w: OptionsWorld, contract: str, function: str, *args: Any, sender: Address | None = None
) -> tuple[str, tuple[Any, ...]] | None:
    """(name, numbers) of the custom error it would end with at the last block; None when it would pass."""
    to: Address = getattr(w.dep, contract.lower())
    request = {"from": sender or w.governor, "to": to, "data": w.c[contract].call(function, *args)}
    try:
        w.node.rpc("eth_call", request, hex(w.node.head().number))
    except Reverted as error:
        found = (c.error(error.data) for c in w.c.values())
        return next((e for e in found if e), (error.data.hex(), ()))
    return None


def price(w: OptionsWorld, u: int, spot: float, time: int | None = None, confidence: int = 10_000) -> tuple[Any, ...]:
    """The arguments of ``publish``; its time is that of the last block."""
    args = (u, round(spot * 10**8), w.now if time is None else time, confidence)
    return (*args, w.sign("spot", ("uint256",) * 4, *args))


def smile(w: OptionsWorld, u: int, expiry: int, *numbers: int, time: int | None = None) -> tuple[Any, ...]:
    """The arguments of ``publishSmile``. ``numbers``: atm, skew, curv, rate in ppm."""
    args = (u, expiry, *numbers, w.now if time is None else time, 10_000)
    return (*args, w.sign("smile", ("uint256",) * 3 + ("int256",) * 3 + ("uint256",) * 2, *args))


def loosen(w: OptionsWorld, what: int, value: int) -> None:
    """Schedule and execute one of ``Oracle.Act`` in a world whose delay is 0."""
    act(w, "Oracle", "schedule", what, value)
    act(w, "Oracle", "execute", what, value)
