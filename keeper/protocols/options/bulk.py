"""Many accounts into the store at once, and back.

    events ─┐
            ├─► Raw: words ─► Plain: columns ─► the rows of the store, what they held before kept aside
    reader ─┘                 and the few that do not fit, one by one

Nothing is written before all of it is understood.

What limits it: an array operation takes about a microsecond however short its arrays, and an account takes some eighty
of them, so an event that is alone in its block is decoded and written in Python (``MANY``), at 10 times the price of
one among hundreds. Of those, half the time goes into finding the handler of each log and a row for each account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from keeper.protocols import words
from keeper.protocols.options.plain import Counted, Ints, Plain
from keeper.protocols.options.raw import Raw, of_events
from keeper.protocols.options.records import Account, leg
from keeper.protocols.options.store import Store

MANY: Final = 8  # from here on array operations are quicker than one account after the other


class Event(NamedTuple):
    """``Clearing.Changed``, not decoded yet."""

    data: bytes
    loss: int  # loss index

    def account(self) -> Account:
        """AdapterFault when it is not laid out as its ABI says."""
        w = words.quarters(self.data, 2)
        legs = sorted([leg((w[i] << 64 | w[i + 1], (w[i + 2] << 64) + w[i + 3])) for i in range(0, len(w), 4)])
        amounts = words.array(self.data, 3)
        held = tuple(int.from_bytes(amounts[i : i + words.WORD]) for i in range(0, len(amounts), words.WORD))
        return Account(words.sint(self.data, 1), tuple(legs), held, words.uint(self.data, 0), self.loss)


event: Final = partial(tuple.__new__, Event)  # ``event((data, loss))``: as ``Event``, without its argument handling


class Undo(NamedTuple):
    """What brings accounts back."""

    rows: Ints
    plain: Plain | None  # of these rows
    singles: list[tuple[int, Account | None]]  # the others


class Ready(NamedTuple):
    """What is understood and not written yet."""

    rows: Ints
    plain: Plain  # of these rows
    others: Sequence[tuple[int, Account]]


def tell(store: Store, told: Mapping[int, Event], counted: Counted) -> Undo:
    """Accounts as their events say; ``counted`` gives the units of collateral."""
    if len(told) < MANY:
        return _few(store, [(account, event.account()) for account, event in told.items()], counted)
    what = decoded(store, list(told), list(told.values()))
    undo = before(store, what)
    write(store, what, counted)
    return undo


def _few(store: Store, records: Iterable[tuple[int, Account]], counted: Counted) -> Undo:
    undo = Undo(np.zeros(0, np.int64), None, [])
    for account, record in records:
        undo.singles.append((account, store.get(account)))
        store.put(account, record, counted(record.collateral))
    return undo


def decoded(store: Store, accounts: Sequence[int], events: Sequence[Event]) -> Ready:
    return ready(store, accounts, of_events([event.data for event in events], [event.loss for event in events]))


def ready(store: Store, accounts: Sequence[int], raw: Raw) -> Ready:
    """Different accounts; each has its row afterwards."""
    plain, fits = raw.plain()
    known = {loss: store.known(loss) for loss in set(raw.loss.tolist())}
    if not all(known.values()):
        fits &= np.array([known[loss] for loss in raw.loss.tolist()], bool)
    others = [(accounts[i], raw.record(i)) for i in np.flatnonzero(~fits).tolist()]
    return Ready(store.take(accounts)[fits], plain if fits.all() else plain.where(fits), others)


def before(store: Store, what: Ready) -> Undo:
    """These accounts as they are."""
    was = store.plain(what.rows)
    strange = [*map(store.account, what.rows[~was].tolist()), *(account for account, _ in what.others)]
    rows = what.rows[was]
    return Undo(rows, store.snapshot(rows), [(account, store.get(account)) for account in strange])


def write(store: Store, what: Ready, counted: Counted) -> None:
    """Over what the accounts were."""
    store.write(what.rows, what.plain, counted)
    for account, record in what.others:
        store.put(account, record, counted(record.collateral))


def restore(store: Store, undo: Undo, counted: Counted) -> None:
    """The accounts as they were, collateral as it counts now."""
    for account, record in undo.singles:
        store.put(account, record, counted(record.collateral) if record else {})
    if undo.plain is not None:
        store.write(undo.rows, undo.plain, counted)
