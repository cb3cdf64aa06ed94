"""From settings to what may sign."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from keeper.arming import Arming, planning, tuned
from keeper.errors import Misconfigured, SecretUnusable
from keeper.model import Call, Route
from keeper.settings import Settings, load
from keeper.tx.guard import Forbidden
from keeper.tx.lanes import Lanes
from keeper.tx.machine import Refused
from keeper.tx.manager import Manager
from keeper.tx.remote import RemoteSigner
from keeper.tx.switch import Level, Switch
from keeper.units import GWEI
from tests.unit.tx_chain import Chain

KEYS = [f"{n:064x}" for n in (1, 2, 3)]
DESK = b"\x22" * 20
TEXT = """[chains.local]
id = {id}
rpc = "http://127.0.0.1:8545"
confirmations = 7
[keeper]
state = "{folder}/state"
"""
SIGNER = '[signers.{name}]\nkey = {{ file = "{folder}/{name}" }}\n'

Load = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Load:
    for name, key in zip("abc", KEYS, strict=True):
        (tmp_path / name).write_text(key)
        (tmp_path / name).chmod(0o600)

    def made(*sets: str, signers: str = "a", more: str = "", id: int = 31337) -> Settings:
        text = TEXT.format(folder=tmp_path, id=id)
        text += "".join(SIGNER.format(name=name, folder=tmp_path) for name in signers)
        file = tmp_path / "keeper.toml"
        file.write_text(text + more.format(folder=tmp_path))
        return load([file], sets, {})

    return made


def armed(settings: Settings, live: bool = True, desk: bytes | None = None) -> Arming:
    made = Arming(settings, "local", settings.chains["local"], live)
    made.unlock(31337, desk)
    return made


def test_every_limit_of_the_settings_is_in_force(settings: Load) -> None:
    sets = {
        "max_gas_price": '"30 gwei"', "max_fee_per_tx": '"1 gwei"', "max_fee_per_hour": '"2 gwei"',
        "max_fee_per_day": '"3 gwei"', "max_value_per_tx": '"4 wei"', "max_deadline": '"5s"', "max_signatures": "6",
        "max_inflight": "7", "max_reverts": "8", "max_lost": '"9 wei"', "retries": "10", "quarantine": '"11s"',
        "gas_reserve": '"12 wei"',
    }  # fmt: skip
    given = settings(*(f"risk.{name}={value}" for name, value in sets.items()), "tx.urgent_slots=2", "tx.bump_after=9")
    t = tuned(given, given.chains["local"])
    limits = t.limits
    assert (limits.tx_cost, limits.hour_cost, limits.day_cost, limits.tx_value) == (GWEI, 2 * GWEI, 3 * GWEI, 4)
    assert (limits.deadline, limits.signatures, limits.reverts, limits.lost) == (5, 6, 8, 9)
    assert (limits.retries, limits.quarantine, t.gas_reserve) == (10, 11, 12)
    assert (t.max_in_flight, t.urgent_slots, t.bump_after, t.confirmations, t.finality) == (7, 2, 9, 7, 64)
    assert (t.fees.hard_cap, t.fees.tip_cap, t.fingerprint) == (30 * GWEI, 30 * GWEI, given.fingerprint())
    assert planning(given).max_fee == GWEI


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (['risk.max_fee_per_tx="1 ETH"'], "max_fee_per_tx <= max_fee_per_hour"),
        (['risk.max_fee_per_day="0.1 ETH"'], "max_fee_per_hour <= max_fee_per_day"),
        (['risk.max_fee_per_tx="0 ETH"'], "greater than 0"),
        (['tx.tip_floor="60 gwei"'], "tip_floor <= tip_cap"),
        (["tx.private_blocks=26"], "private_blocks"),
        (["tx.route=secret"], "tx.route"),
        (["tx.tip_percentile=101"], "tip_percentile"),
    ],
)
def test_limits_that_make_no_sense_are_refused_where_they_stand(settings: Load, sets: list[str], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        settings(*sets)


@pytest.mark.fault("P05", "P01")
def test_the_hot_key_makes_one_call_and_only_on_terms(settings: Load) -> None:
    [signer] = armed(settings(), desk=DESK).signers
    assert not isinstance(signer, RemoteSigner)
    for call in (Call(DESK, b"\1\2\3\4"), Call(b"\x33" * 20, b""), Call(DESK, b"", 1)):
        with pytest.raises(Forbidden):
            signer.sign(0, call, 30_000, 2, 1, 31337)
    assert signer.sign(0, Call(signer.address, b""), 21_000, 2, 1, 31337)  # nothing, to itself
    with pytest.raises(Refused):
        signer.sign(0, Call(signer.address, b""), 21_000, 10**13, 1, 31337)


@pytest.mark.fault("K09")
def test_a_hot_key_that_owns_the_desk_is_refused(settings: Load) -> None:
    made = armed(settings(signers="ab"))
    made.refuse_owner(b"\x77" * 20)
    for address in made.addresses:
        with pytest.raises(Misconfigured, match="owns the desk"):
            made.refuse_owner(address)


@pytest.mark.fault("K01")
def test_a_raw_key_is_for_local_chains(settings: Load) -> None:
    made = Arming(settings(), "local", settings().chains["local"], True)
    with pytest.raises(SecretUnusable, match="raw key is refused on chain 1"):
        made.unlock(1, None)


def test_one_key_twice_is_one_too_many(settings: Load, tmp_path: Path) -> None:
    (tmp_path / "b").write_text(KEYS[0])
    with pytest.raises(Misconfigured, match="same key"):
        armed(settings(signers="ab"))


async def managers(made: Arming, chain: Chain) -> Any:
    async def rewards(head: object) -> list[int]:
        return []

    stack = AsyncExitStack()
    return made.transactions(chain, bytes(32), rewards, stack), stack


async def test_one_key_is_a_manager_and_several_are_lanes_with_a_journal_each(settings: Load, tmp_path: Path) -> None:
    one, stack = await managers(armed(settings()), Chain())
    async with stack:
        assert isinstance(one, Manager)
        assert one.lane.journal.path.name == "local.live.db"
    several, stack = await managers(armed(settings(signers="abc")), Chain())
    async with stack:
        assert isinstance(several, Lanes)
        assert len(list((tmp_path / "state").glob("local.*.live.db"))) == 3


@pytest.mark.fault("X01")
async def test_a_live_keeper_has_a_switch_and_others_have_none(settings: Load, tmp_path: Path) -> None:
    made = armed(settings())
    (tmp_path / "state").mkdir()
    Switch(tmp_path / "state" / "switch").set(Level.DRAIN)
    assert (made.switch.level, armed(settings(), live=False).switch.level) == (Level.DRAIN, Level.RUN)


RELAY = '[relay]\nurl = "https://relay.example/x"\nkey = {{ file = "{folder}/%s" }}\n'


async def test_a_relay_s_name_holds_no_money(settings: Load) -> None:
    with pytest.raises(Misconfigured, match=r"\[relay\] key holds money"):
        await managers(armed(settings(more=RELAY % "a")), Chain())
    made, stack = await managers(armed(settings(more=RELAY % "b")), Chain())
    async with stack:
        assert made.lane.relay is not None


async def test_a_private_route_needs_a_relay(settings: Load) -> None:
    with pytest.raises(Misconfigured, match="needs a \\[relay\\]"):
        await managers(armed(settings("tx.route=private")), Chain())
    made, stack = await managers(armed(settings("tx.route=private", more=RELAY % "c")), Chain())
    async with stack:
        assert made.lane.settings.route is Route.PRIVATE


@pytest.mark.fault("K08")
def test_a_signer_may_be_elsewhere(settings: Load) -> None:
    more = '[signers.far]\nremote = "https://signer.example:9000"\naddress = "0x' + "ab" * 20 + '"\n'
    [one] = armed(settings(signers="", more=more)).signers
    assert isinstance(one, RemoteSigner)
    assert one.address == b"\xab" * 20
    with pytest.raises(Misconfigured, match="remote and address belong together"):
        settings(signers="", more='[signers.far]\nremote = "https://signer.example:9000"\n')


def test_without_signers_nothing_is_armed(settings: Load) -> None:
    with pytest.raises(Misconfigured, match="no signer"):
        armed(settings(signers=""))
