"""How decisions and facts read in the decision log."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.model import Bid, Decision, Fact, Liquidate, Opportunity, Skip, Wait


def name(o: Opportunity) -> str:
    return f"{o.kind} {o.protocol} 0x{o.key.id:x}"


def fact(protocol: str, fact: Fact) -> Mapping[str, object]:
    head = {"protocol": protocol, "name": fact.name, "key": f"{fact.key.kind} 0x{fact.key.id:x}"}
    return {**head, "who": fact.who, "tx": fact.tx_hash, **fact.amounts}


def said(decision: Decision) -> tuple[str, str]:
    why = decision.why if isinstance(decision, Wait | Skip) else ""
    return type(decision).__name__.lower(), str(why)


def decided(decision: Decision) -> Mapping[str, object]:
    o = decision.opportunity
    costs = {f"cost_{part}": getattr(o.costs, part) for part in o.costs.__slots__}
    fields = {"opportunity": o.id, "kind": o.kind, "account": f"0x{o.key.id:x}", "gain": o.gain, "net": o.net}
    fields |= {"chance": o.chance, "expected": o.expected}
    extra: dict[str, object] = {"why": decision.why} if isinstance(decision, Wait | Skip) else {}
    if isinstance(decision, Wait):
        extra["until"] = decision.until
    if isinstance(decision, Bid | Liquidate):
        extra["floor"] = decision.floor
    return {**fields, **costs, **o.evidence, **extra}
