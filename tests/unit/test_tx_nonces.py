import pytest

from keeper.errors import RiskHalt
from keeper.model import BlockRef
from keeper.tx.heads import Heads
from keeper.tx.nonces import behind, next_nonce


def test_a_new_journal_starts_where_the_chain_is() -> None:
    assert next_nonce(None, 17) == 17


@pytest.mark.parametrize("mined", [0, 4, 5])
def test_the_journal_is_never_undercut_by_the_chain(mined: int) -> None:
    assert next_nonce(5, mined) == 5


def test_a_chain_ahead_of_the_journal_is_a_foreign_use_of_the_key() -> None:
    with pytest.raises(RiskHalt, match="has 6 transactions of this key, the journal knows of 5"):
        next_nonce(5, 6)


@pytest.mark.parametrize(
    ("mined", "open_nonces", "expected"),
    [
        (5, [], False),
        (3, [3, 4], False),
        (3, [2, 3, 4], False),  # 2 is mined, and watched until it is final
        (3, [4], True),  # 3 is final, and this node has not seen it
        (0, [], True),
    ],
)
def test_a_node_that_misses_final_transactions_is_behind(mined: int, open_nonces: list[int], expected: bool) -> None:
    assert behind(5, mined, open_nonces) is expected


# ─── heads ────────────────────────────────────────────────────────────────────────────────────────


def block(number: int, branch: str = "a", parent: str = "a") -> BlockRef:
    return BlockRef(number, f"{number}{branch}".encode(), f"{number - 1}{parent}".encode(), 12 * number, 7, 0, 0)


def follow(*refs: BlockRef) -> Heads:
    heads = Heads()
    for ref in refs:
        heads.follow(ref)
    return heads


def test_before_the_first_head_any_block_is_believed() -> None:
    assert Heads().agree(block(9))


def test_a_block_above_the_head_has_to_wait() -> None:
    assert not follow(block(1), block(2)).agree(block(3))


def test_the_parent_of_the_first_head_is_known() -> None:
    heads = follow(block(2))
    assert heads.agree(block(1))
    assert not heads.agree(block(1, "b"))


def test_after_a_reorg_only_the_new_branch_is_canonical() -> None:
    heads = follow(block(1), block(2), block(3), block(2, "b"), block(3, "b", "b"))
    assert heads.agree(block(1))
    assert heads.agree(block(2, "b"))
    assert not heads.agree(block(2))
    assert not heads.agree(block(3))


def test_what_does_not_connect_is_forgotten_rather_than_trusted() -> None:
    heads = follow(block(1), block(2), block(3), block(4, "b", "b"))
    assert heads.agree(block(2, "b"))
    assert not heads.agree(block(3))


def test_only_recent_blocks_are_kept() -> None:
    heads = follow(*(block(n) for n in range(1, 400)))
    assert heads.agree(block(100, "b"))
    assert not heads.agree(block(300, "b"))
