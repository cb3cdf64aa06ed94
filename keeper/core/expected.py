"""What was decided about what is expected, to be recognised when it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from keeper.core.table import gas_limit
from keeper.model import Action, Call, Decision, Key, Kind, Moment, Opportunity, TxIntent

What = tuple[str, Key, Kind]


@dataclass
class Expected:
    _held: dict[What, TxIntent] = field(default_factory=dict)

    @property
    def intents(self) -> tuple[TxIntent, ...]:
        return tuple(self._held.values())

    def hold(self, plans: Iterable[tuple[Decision, TxIntent | None]]) -> bool:
        """These, in place of what was expected of an earlier block; whether there is, or was, anything."""
        before, self._held = self._held, {_what(d.opportunity): intent for d, intent in plans if intent is not None}
        return bool(before or self._held)

    def written(
        self, action: Action, at: Moment, call: Callable[[Moment], Call], write: Callable[[Call], TxIntent]
    ) -> TxIntent:
        """The intent of an action at a moment; in the bytes that were held for it, where these would still do the same.

        ``call``: that of the action, as decided for a moment; ``write`` makes an intent of a call.
        """
        held = self._fitting(action, at, call)
        if held is None:
            return write(call(at))
        made = write(held.call)
        return replace(made, gas_limit=held.gas_limit, valid_until=min(made.valid_until, held.valid_until))

    def _fitting(self, action: Action, at: Moment, call: Callable[[Moment], Call]) -> TxIntent | None:
        """What was held for it, while half of its time is left."""
        held = self._held.get(_what(action.opportunity))
        if held is None or held.at is None or held.gas_limit < gas_limit(action.opportunity):
            return None
        late = 2 * at.timestamp > held.at.timestamp + held.valid_until
        return held if not late and call(held.at) == held.call else None


def _what(o: Opportunity) -> What:
    return o.protocol, o.key, o.kind
