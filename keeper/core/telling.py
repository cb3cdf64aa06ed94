"""How decisions and facts read in the decision log."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core.attempts import Attempt
from keeper.core.scanner import later
from keeper.model import Bid, Decision, Fact, Liquidate, Opportunity, Reason, Skip, TxEvent, Wait
from keeper.ports import Adapter


def name(o: Opportunity) -> str:
    return f"{o.kind} {o.protocol} 0x{o.key.id:x}"


def fact(protocol: str, fact: Fact) -> Mapping[str, object]:
    head = {"protocol": protocol, "name": fact.name, "key": f"{fact.key.kind} 0x{fact.key.id:x}"}
    return {**head, "who": fact.who, "tx": fact.tx_hash, **fact.amounts}


def step(event: TxEvent, attempt: Attempt | None, adapter: Adapter | None) -> Mapping[str, object]:
    """Of a transaction; what it was for, and why the contract refuses it, where we know."""
    fields = dict[str, object](intent=event.intent)
    if attempt is not None:
        fields["purpose"] = name(attempt.opportunity)
    if event.receipt is not None:
        fields |= {"tx": event.receipt.tx_hash, "ok": event.receipt.ok, "gas_used": event.receipt.gas_used}
    if event.why is not None:
        fields["why"] = event.why
    if event.why is Reason.SIM_REVERTED and adapter is not None:
        fields["revert"] = adapter.explain(bytes.fromhex(event.detail.removeprefix("0x")))
    return fields


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
        extra |= {"until": decision.until, "later": later(o, decision.until)}
    if isinstance(decision, Bid | Liquidate):
        extra["floor"] = decision.floor
    return {**fields, **costs, **o.evidence, **extra}
