"""The one chain that a keeper serves: which it is, whether a node is on it, and how long it is waited for."""

from __future__ import annotations

from keeper.chain.endpoint import Endpoint
from keeper.chain.follower import Limits
from keeper.chain.standing import Standings
from keeper.clock import SystemClock
from keeper.errors import Misconfigured
from keeper.settings import Chain, Settings


def only(settings: Settings) -> tuple[str, Chain]:
    if len(settings.chains) != 1:
        raise Misconfigured(f"{len(settings.chains)} chains are configured", help="one keeper serves one chain")
    return next(iter(settings.chains.items()))


def check(settings: Settings, name: str, chain: Chain, found: int) -> None:
    """Misconfigured, located, unless the node is on the configured chain."""
    if found != chain.id:
        what = f"the node is on chain {found}, not {chain.id}"
        raise settings.fault(("chains", name, "id"), what, help=f"set id = {found}, or point rpc to a node of {name}")


def standings(chain: Chain) -> Standings:
    """Of all its endpoints, none of which has shown anything yet."""
    return Standings([str(Endpoint(url)) for url in chain.rpc.reveal()], chain.id, SystemClock().monotonic)


def patience(chain: Chain) -> Limits:
    age = chain.max_head_age / 1000
    return Limits(poll=min(1.0, age / 4), max_head_age=age, patience=chain.retry_for / 1000)
