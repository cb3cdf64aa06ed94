"""Watchers of a running keeper: the decision log, and what a person wants to read on a terminal."""

from __future__ import annotations

import structlog

from keeper.model import Effect, Outcome, Record, Send, Turn
from keeper.observe.decisions import DecisionLog

log = structlog.get_logger("keeper")
TOLD = ("account.unhealthy", "decision.bid", "decision.liquidate", "decision.hedge", "protocol.paused", "block.gap")


class Logged:
    """Writes the decision log. A disk that takes no more ends the log, and not the keeper."""

    def __init__(self, log: DecisionLog) -> None:
        self._log: DecisionLog | None = log

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Record):
            self._write(effect)
        elif isinstance(effect, Outcome):
            self._write(ended(effect))

    def _write(self, record: Record) -> None:
        if self._log is None:
            return
        try:
            self._log.write(record)
        except OSError as error:
            self._log = None
            log.error("decisions.ended", error=error.strerror, block=record.block)

    def turn(self, turn: Turn) -> None: ...


class Spoken:
    """Says on the log what an operator wants to know as it happens, and a heartbeat every so many turns."""

    def __init__(self, every: int) -> None:
        self._every, self._heads = every, 0
        self._decided = self._sent = self._won = 0

    def effect(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._sent += 1
        elif isinstance(effect, Outcome):
            self._won += effect.won
            said = ended(effect)
            log.info(said.event, block=said.block, **said.fields)
        elif isinstance(effect, Record) and effect.event.startswith("decision."):
            self._decided += 1
        if isinstance(effect, Record) and effect.event in TOLD:
            log.info(effect.event, block=effect.block, **effect.fields)

    def turn(self, turn: Turn) -> None:
        self._heads += 1
        took = round(1000 * turn.decided, 1)
        log.debug("turn.done", block=turn.ref.number, decision_ms=took)
        if self._heads % self._every == 0:
            counts = {"decided": self._decided, "sent": self._sent, "won": self._won}
            log.info("heartbeat", block=turn.ref.number, decision_ms=took, **counts)


def ended(outcome: Outcome) -> Record:
    """An outcome as a line of the log."""
    fields = {name: getattr(outcome, name) for name in outcome.__slots__ if name not in ("key", "won", "ended")}
    event = "outcome.won" if outcome.won else "outcome.lost"
    return Record(outcome.ended, event, {**fields, "account": f"0x{outcome.key.id:x}"})
