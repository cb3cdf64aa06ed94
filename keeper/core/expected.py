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
    _said: bool = False  # that there is something

    @property
    def intents(self) -> tuple[TxIntent, ...]:
        return tuple(self._held.values())

    def renew(self, soon: Moment) -> None:
        """Have written anew what will be too old for the bytes that are held when the next block's are executed."""
        self._held = {what: intent for what, intent in self._held.items() if not _late(intent, soon)}

    def hold(self, plans: Iterable[tuple[Decision, TxIntent | None]]) -> bool:
        """These, in place of what was expected of an earlier block; whether there is, or was, anything."""
        wanted = ((_what(d.opportunity), intent) for d, intent in plans if intent is not None)
        before, self._held = self._said, {what: self._dated(what, intent) for what, intent in wanted}
        self._said = bool(self._held)
        return before or self._said

    def _dated(self, what: What, intent: TxIntent) -> TxIntent:
        """With the moment for which its call was made, though it may have been decided again since."""
        held = self._held.get(what)
        return intent if held is None or held.call != intent.call else replace(intent, at=held.at)

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
        """What was held for it, if it is not too old."""
        held = self._held.get(_what(action.opportunity))
        if held is None or held.at is None or held.gas_limit < gas_limit(action.opportunity):
            return None
        return held if not _late(held, at) and call(held.at) == held.call else None


def _late(held: TxIntent, at: Moment) -> bool:
    """Whether less than half of its time is left."""
    return held.at is None or 2 * at.timestamp > held.at.timestamp + held.valid_until


def _what(o: Opportunity) -> What:
    return o.protocol, o.key, o.kind
