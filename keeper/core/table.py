"""What several protocols share, as one linear picture: block gas, slots, tokens at hand, own margin.

    rows    gas · slots · each token once, however many protocols deal in it · margin of all but the first that has one
    losses  of the first protocol with margin, by underlying and scenario: there what one loses another may gain

Protocols that act through the same desk hold the same tokens, so what one of them takes the others lack. Margin stays
where it is: equity in one clearing house carries no loss in another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from keeper.core.items import Item, Room, Worst
from keeper.core.scanner import later
from keeper.errors import AdapterFault
from keeper.model import Capital, Moment, Needs, Opportunity, Wait
from keeper.ports import Adapter, View

T = TypeVar("T")
FAULTS: Final = (AdapterFault, ArithmeticError, LookupError, TypeError, ValueError)
OVERHEAD: Final = 60_000  # units for the call through the desk
OWN: Final = 2  # rows before those of the tokens: gas, slots


class Failed(Exception):
    """An adapter did; which one, and how."""

    def __init__(self, protocol: str, why: str) -> None:
        super().__init__(f"{protocol}: {why}")
        self.protocol, self.why = protocol, why


@dataclass(frozen=True)
class Side:
    adapter: Adapter
    view: View


@dataclass
class Table:
    """``sides`` by protocol. Each is asked for its capital once."""

    sides: Mapping[str, Side]
    at: Moment
    _capital: dict[str, Capital] = field(init=False)
    _tokens: dict[Hashable, int] = field(default_factory=dict)  # token -> at hand, smallest units
    _margins: list[str] = field(init=False)  # protocols with margin of their own, the first apart

    def __post_init__(self) -> None:
        self._capital = {
            name: _asked(name, partial(side.adapter.capital, side.view, self.at)) for name, side in self.sides.items()
        }
        for name, capital in self._capital.items():
            for token, have in zip(_places(name, capital), capital.tokens, strict=True):
                self._tokens[token] = min(have, self._tokens.get(token, have))
        self._margins = [name for name, capital in self._capital.items() if capital.losses]

    # ── one thing to do ──

    def item(self, o: Opportunity) -> Item:
        tokens, capital = self._taken(o), self._capital[o.protocol]
        losses = _losses(o.needs, capital.losses)
        first = self._margins[:1] == [o.protocol]
        lost = sum(max(0, *row) for row in losses)
        margins = [lost if name == o.protocol else 0 for name in self._margins[1:]]
        uses = (gas_limit(o), 1, *(tokens.get(token, 0) for token in self._tokens), *margins)
        return Item(o.expected, (o.protocol, o.key), uses, losses if first else ())

    def reserved(self, d: Wait) -> Item:
        """A bid that waits: worth what it is expected to bring then; it takes capital, but no gas and no slot yet."""
        item = self.item(d.opportunity)
        return replace(item, value=later(d.opportunity, d.until), uses=(0, 0, *item.uses[OWN:]))

    def _taken(self, o: Opportunity) -> dict[Hashable, int]:
        if not o.needs.tokens:
            return {}
        return dict(zip(_places(o.protocol, self._capital[o.protocol]), o.needs.tokens, strict=False))

    # ── all of them ──

    def room(self, taken: Sequence[Opportunity], gas: int, slots: int) -> Room:
        """What is left beside what is chosen already."""
        mine = [self.item(o) for o in self._here(taken)]
        tokens = [have - sum(i.uses[OWN + t] for i in mine) for t, have in enumerate(self._tokens.values())]
        at = OWN + len(tokens)
        others = [self._capital[name] for name in self._margins[1:]]
        margins = [_spare(c) - sum(i.uses[at + m] for i in mine) for m, c in enumerate(others)]
        rows = tuple(max(0, have) for have in (gas, slots, *tokens, *margins))
        losses = tuple(
            tuple(base + sum(i.losses[u][s] for i in mine if i.losses) for s, base in enumerate(row))
            for u, row in enumerate(self._first.losses)
        )
        base = sum(max(0, *row) for row in losses)  # where even that is too much, what loses nothing may still be done
        return Room(rows, losses, max(self._first.margin, base))

    def capital_fits(self, taken: Sequence[Opportunity], item: Item) -> bool:
        """Whether there is capital for one more, gas and slots aside."""
        room, first = self.room((), 0, 0), self._first
        bare = [replace(i, uses=i.uses[OWN:]) for i in (*map(self.item, self._here(taken)), item)]
        return replace(room, rows=room.rows[OWN:], margin=first.margin).fits(bare)

    @property
    def _first(self) -> Capital:
        """Of the protocol whose margin is seen by scenario."""
        return self._capital[self._margins[0]] if self._margins else Capital()

    def affordable(self, taken: Sequence[Opportunity], more: Sequence[Opportunity]) -> bool:
        """Exactly. Nothing may leave less than nothing of own capital, unless it leaves no less than there was before;
        and no token is spent twice, whichever protocols spend it."""
        here = self._here(taken)
        if not all(self._alone(side, here, more) for side in dict.fromkeys(o.protocol for o in more)):
            return False
        spent = self._spent(more)
        before = self._spent(here)
        return all(before.get(t, 0) + n <= self._tokens[t] for t, n in spent.items() if n)

    def _alone(self, name: str, taken: Sequence[Opportunity], more: Sequence[Opportunity]) -> bool:
        side = self.sides[name]
        mine, new = ([o for o in found if o.protocol == name] for found in (taken, more))

        def left(chosen: Sequence[Opportunity]) -> int:
            return _asked(name, lambda: side.adapter.afford(side.view, chosen, self.at))

        after = left([*mine, *new])
        return after >= 0 or after >= left(mine)

    def _spent(self, found: Sequence[Opportunity]) -> dict[Hashable, int]:
        spent = dict[Hashable, int]()
        for o in found:
            for token, amount in self._taken(o).items():
                spent[token] = spent.get(token, 0) + amount
        return spent

    def _here(self, found: Sequence[Opportunity]) -> list[Opportunity]:
        """Those whose protocol is at the table."""
        return [o for o in found if o.protocol in self.sides]


def gas_limit(o: Opportunity) -> int:
    """Half again what it is expected to take; what is not used costs nothing."""
    return o.needs.gas * 3 // 2 + OVERHEAD


def _asked(name: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except FAULTS as error:
        raise Failed(name, f"{type(error).__name__}: {error}") from error


def _places(name: str, capital: Capital) -> tuple[Hashable, ...]:
    """What each of its tokens is called at the table: by address, or as its own where it does not say."""
    return capital.places or tuple((name, i) for i in range(len(capital.tokens)))


def _spare(capital: Capital) -> int:
    """Margin that is left for more, whatever scenario comes: what we hold already has its worst in each underlying."""
    return capital.margin - sum(max(0, *row) for row in capital.losses)


def _losses(needs: Needs, like: Worst) -> Worst:
    """In the shape of the own ones. One that was decided under other scenarios takes its margin in all of them."""
    if not needs.losses and needs.margin <= 0:
        return ()
    if [len(row) for row in needs.losses] == [len(row) for row in like]:
        return needs.losses
    return tuple((max(0, needs.margin) if u == 0 else 0,) * len(row) for u, row in enumerate(like))
