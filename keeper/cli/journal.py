"""``keeper journal``: what was signed and what became of it, read beside a running keeper without disturbing it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keeper.cli import setup
from keeper.cli.exit import Usage
from keeper.cli.output import emit, eth, table
from keeper.errors import NotFound
from keeper.tx import reading
from keeper.tx.rows import Attempt, Flight


def run(args: argparse.Namespace) -> int:
    return {"ls": _ls, "show": _show, "verify": _verify}[args.action](args)


def _files(args: argparse.Namespace) -> Sequence[Path]:
    """The journals that are meant. NotFound when there is none."""
    if args.file is not None:
        return [Path(args.file)]
    folder = setup.settings(args).keeper.state
    found = sorted(folder.glob("*.live.db"))
    if not found:
        raise NotFound(f"there is no journal in {folder}", help="it is written by keeper run --live")
    return found


# ─── ls ───────────────────────────────────────────────────────────────────────────────────────────


def _ls(args: argparse.Namespace) -> int:
    flights, ahead = list[Flight](), list[Flight]()
    for file in _files(args):
        with reading.reader(file) as journal:
            flights += journal.ls(everything=args.all)
            ahead += journal.ahead()
    header = ["nonce", "intent", "state", "attempts", "worst", "paid", "block", "purpose"]
    text = table(header, map(_line, flights))
    if ahead:
        rows = [[flight.nonce, eth(flight.worst_cost), flight.intent.purpose] for flight in ahead]
        text += f"\n\nsigned ahead, and not sent\n\n{table(['nonce', 'worst', 'purpose'], rows)}"
    emit(args, {"intents": [_told(flight) for flight in flights], "ahead": [_told(flight) for flight in ahead]}, text)
    return 0


def _line(flight: Flight) -> list[object]:
    paid = "" if flight.cost is None else eth(flight.cost)
    block = "" if flight.receipt is None else flight.receipt.block.number
    intent = f"0x{flight.intent.id.hex()[:12]}"
    worst = eth(flight.worst_cost)
    return [flight.nonce, intent, flight.state, len(flight.attempts), worst, paid, block, flight.intent.purpose]


def _told(flight: Flight) -> Mapping[str, Any]:
    receipt = flight.receipt
    return {
        "nonce": flight.nonce,
        "intent": flight.intent.id,
        "state": flight.state,
        "purpose": flight.intent.purpose,
        "subject": flight.intent.subject,
        "valid_until": flight.intent.valid_until,
        "worst_wei": flight.worst_cost,
        "paid_wei": flight.cost,
        "attempts": [_attempt(attempt) for attempt in flight.attempts],
        "mined": None
        if receipt is None
        else {"hash": receipt.tx_hash, "block": receipt.block.number, "ok": receipt.ok},
    }


def _attempt(attempt: Attempt) -> Mapping[str, Any]:
    """Without the signed bytes: before inclusion, those of a private transaction are a secret."""
    fees = {"gas": attempt.gas, "max_fee_wei": attempt.fees.max_fee, "tip_wei": attempt.fees.tip}
    return {"hash": attempt.hash, "kind": attempt.kind, "block": attempt.created, "epoch": attempt.epoch, **fees}


# ─── show ─────────────────────────────────────────────────────────────────────────────────────────


def _show(args: argparse.Namespace) -> int:
    if args.which is None:
        raise Usage("which intent?", help="keeper journal show 0x52908400…")
    flight, history = _found(_files(args), args.which)
    rows = [[said["seq"], said["block"], said["event"], said["state"], _short(said)] for said in history]
    text = "\n\n".join([_about(flight), table(["event", "block", "what", "state", "transaction"], rows)])
    emit(args, {**_told(flight), "history": history}, text)
    return 0


def _found(files: Sequence[Path], which: str) -> tuple[Flight, list[dict[str, Any]]]:
    missing: NotFound | None = None
    for file in files:
        with reading.reader(file) as journal:
            try:
                flight = journal.find(which)
                return flight, list(reading.events(journal.ask, flight.intent.id))
            except NotFound as error:
                missing = error
    raise missing or NotFound(f"no intent begins with {which}")


def _about(flight: Flight) -> str:
    paid = "not mined" if flight.cost is None else eth(flight.cost)
    facts = {
        "intent": f"0x{flight.intent.id.hex()}",
        "purpose": flight.intent.purpose,
        "nonce": flight.nonce,
        "state": flight.state,
        "worst case": eth(flight.worst_cost),
        "paid": paid,
        "valid until": flight.intent.valid_until,
    }
    return table(["fact", "value"], facts.items())


def _short(said: Mapping[str, Any]) -> str:
    return f"{said['kind']} 0x{said['hash'][:12]}" if "hash" in said else ""


# ─── verify ───────────────────────────────────────────────────────────────────────────────────────


def _verify(args: argparse.Namespace) -> int:
    """Raises Broken with the first thing that is wrong."""
    rows = list[list[object]]()
    for file in _files(args):
        with reading.reader(file) as journal:
            events, archived = reading.verify(journal.ask, file), reading.verify_archive(journal.ask, file)
            meta, count = journal.meta(), len(journal.ls(everything=False))
            rows.append([file.name, meta.get("chain_id", ""), f"0x{meta.get('address', '')}", events, archived, count])
    header = ["journal", "chain", "key", "events", "archived", "open"]
    data = [dict(zip(header, row, strict=True)) for row in rows]
    emit(args, {"journals": data}, f"{table(header, rows)}\n\nevery row and every link holds")
    return 0
