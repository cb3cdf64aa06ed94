"""What was decided about what is expected, to be recognised when it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

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

    def fitting(self, action: Action, intent: TxIntent, call: Callable[[Moment], Call]) -> TxIntent:
        """The intent in the bytes that were held for it, where these would do the same, if a little earlier.

        ``call`` is the call of the action as decided for a moment.
        """
        held = self._held.get(_what(action.opportunity))
        if held is None or held.at is None or intent.at is None or held.gas_limit < intent.gas_limit:
            return intent
        if held.valid_until < intent.at.timestamp or call(held.at) != held.call:
            return intent
        until = min(intent.valid_until, held.valid_until)
        return replace(intent, call=held.call, gas_limit=held.gas_limit, valid_until=until)


def _what(o: Opportunity) -> What:
    return o.protocol, o.key, o.kind
