"""Which nonce comes next: the higher of the journal's and the chain's, and a halt where they contradict."""

from collections.abc import Collection

from keeper.errors import RiskHalt


def next_nonce(held: int | None, mined: int) -> int:
    """The next nonce to sign.

    ``held`` is one above the highest nonce in the journal (None: a new journal, which adopts the chain's count),
    ``mined`` the number of mined transactions. The journal is written before anything is sent, so the chain can
    only be ahead when somebody else signs with this key or the journal is an old copy: both raise RiskHalt.
    """
    if held is None:
        return mined
    if mined > held:
        raise RiskHalt(
            f"the chain has {mined} transactions of this key, the journal knows of {held}",
            help="find out who else signs with this key, or whether the journal was restored from a backup; "
            "adopt the chain's count only when both are ruled out",
        )
    return held


def behind(held: int, mined: int, open_nonces: Collection[int]) -> bool:
    """Whether the node has not seen transactions that the journal knows to be final."""
    return sum(nonce >= mined for nonce in open_nonces) < held - mined
