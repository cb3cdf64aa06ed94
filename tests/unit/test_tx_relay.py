"""Private routes: nothing the relay says is believed, and nothing is lost when it fails."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak
from structlog.testing import capture_logs

from keeper.model import Reason, Route
from keeper.testing.relay import FakeRelay, Mood
from keeper.tx.keys import Key
from keeper.tx.relay import Fate, Relay
from keeper.tx.signer import curve_of
from tests.unit.tx_chain import decode
from tests.unit.tx_rig import SETTINGS, SIGNER, Rig, S, guarded, intent, refused

NAME, CURVE = curve_of(Key(b"\x07" * 32))
TO = intent().call.target
PRIVATE = replace(SETTINGS, route=Route.PRIVATE)
FALLBACK = replace(SETTINGS, route=Route.FALLBACK, private_blocks=2)


@pytest.fixture
async def fake() -> AsyncIterator[FakeRelay]:
    async with FakeRelay() as relay:
        yield relay


async def rigged(folder: Path, fake: FakeRelay, settings: Any, **how: Any) -> Rig:
    relay = Relay(fake.url, NAME, CURVE, **how)
    rig = await guarded(folder, settings, parts={"relay": relay})
    fake.public = rig.chain.send
    return rig


async def build(rig: Rig, fake: FakeRelay) -> list[Any]:
    """A block by a builder who sees the pool and the relay."""
    for raw in fake.due(rig.chain.head.number + 1):
        rig.chain._admit(decode(raw))
    return await rig.mine()


async def closed(rig: Rig) -> None:
    assert rig.manager.lane.relay is not None
    await rig.manager.lane.relay.close()


@pytest.mark.fault("L03")
@pytest.mark.parametrize("method", ["eth_sendPrivateTransaction", "eth_sendBundle"])
async def test_a_private_intent_never_meets_the_public_pool(tmp_path: Path, fake: FakeRelay, method: Any) -> None:
    rig = await rigged(tmp_path, fake, PRIVATE, method=method)
    await rig.submit(intent())
    assert rig.chain.sent == []
    assert (await build(rig, fake))[0] == (S.INCLUDED, None)
    assert (rig.chain.effects(TO), rig.chain.sent) == (1, [])
    await closed(rig)


async def test_each_request_is_signed_by_the_name_that_holds_no_money(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, PRIVATE)
    await rig.submit(intent())
    [asked] = fake.asked
    assert (asked.method, asked.signer) == ("eth_sendPrivateTransaction", NAME)
    assert SIGNER.address != NAME
    raw = rig.manager.lane.flights[0].last.raw
    assert asked.params == {"tx": f"0x{raw.hex()}", "maxBlockNumber": hex(0 + SETTINGS.private_blocks)}
    await closed(rig)


@pytest.mark.fault("T39")
@pytest.mark.parametrize("mood", [Mood.REFUSE, Mood.DOWN, Mood.LIE, Mood.HANG])
async def test_what_a_relay_does_not_take_goes_public_if_it_may(tmp_path: Path, fake: FakeRelay, mood: Mood) -> None:
    fake.mood = mood
    rig = await rigged(tmp_path, fake, FALLBACK, seconds=0.2)
    await rig.submit(intent())
    assert [tx.to for tx in rig.chain.sent] == [TO]
    await rig.mine(4)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T39", "T33")
@pytest.mark.parametrize("mood", [Mood.REFUSE, Mood.DOWN])
async def test_and_otherwise_waits_and_is_cancelled_in_the_open(tmp_path: Path, fake: FakeRelay, mood: Mood) -> None:
    fake.mood = mood
    rig = await rigged(tmp_path, fake, PRIVATE)
    await rig.submit(intent(valid_until=12 * 2))
    await rig.mine(2, skip=True)
    assert (rig.chain.sent, len(fake.asked)) == ([], 3)  # at every block it is asked again
    await rig.mine(5)
    assert {tx.to for tx in rig.chain.sent} == {SIGNER.address}
    assert rig.journal.state_of(intent().id) is S.CANCELLED
    assert rig.chain.effects(TO) == 0
    await closed(rig)


@pytest.mark.fault("T40", "R23")
async def test_what_a_relay_forgets_goes_public_after_its_blocks(tmp_path: Path, fake: FakeRelay) -> None:
    fake.mood = Mood.FORGET
    rig = await rigged(tmp_path, fake, FALLBACK)
    await rig.submit(intent())
    await build(rig, fake)
    assert rig.chain.sent == []
    await build(rig, fake)
    assert [tx.to for tx in rig.chain.sent] == [TO]
    await rig.mine(3)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T40")
async def test_a_private_one_that_is_not_built_in_is_given_to_the_relay_again(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, private_blocks=1, bump_after=50))
    await rig.submit(intent())
    lasts = []
    for _ in range(4):
        await rig.mine(skip=True)
        fake.due(rig.chain.head.number)
        lasts.append(int(fake.asked[-1].params["maxBlockNumber"], 16))
    assert lasts == [2, 3, 4, 5]
    assert len({asked.params["tx"] for asked in fake.asked}) == 1
    await closed(rig)


@pytest.mark.fault("T41", "T43")
async def test_what_leaks_happens_once(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, PRIVATE)
    fake.mood = Mood.LEAK
    await rig.submit(intent())
    assert len(rig.chain.pool) == 1
    await build(rig, fake)
    await build(rig, fake)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T43", "T33")
async def test_of_a_private_act_and_its_public_no_op_one_lands(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, private_blocks=25))
    fake.mood = Mood.DEAF
    await rig.submit(intent(valid_until=12))
    await rig.mine(2, skip=True)  # the no-op is out, and the relay still holds the act
    assert (len(fake.held), {tx.to for tx in rig.chain.pool.values()}) == (1, {SIGNER.address})
    rig.chain.pool.clear()
    await build(rig, fake)
    await rig.mine(5)
    assert (rig.chain.effects(TO), len(rig.chain.mined)) == (1, 1)
    assert rig.journal.state_of(intent().id) is S.CONFIRMED
    await closed(rig)


@pytest.mark.fault("C04", "C05", "T43")
async def test_a_restart_goes_on_by_the_same_route(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, SETTINGS)
    await rig.submit(intent(route=Route.PRIVATE))
    await rig.restart()
    await rig.mine(skip=True)
    assert (rig.chain.sent, len(fake.asked), len({str(asked.params["tx"]) for asked in fake.asked})) == ([], 2, 1)
    await closed(rig)


# ─── what became of it ────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("T40")
async def test_what_a_relay_says_it_has_is_not_given_to_it_again_until_its_blocks_are_over(
    tmp_path: Path, fake: FakeRelay
) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, private_blocks=3, bump_after=50), status=fake.status)
    await rig.submit(intent())
    given = []
    for _ in range(4):
        await rig.mine(skip=True)
        given.append(len(fake.asked))
    assert given == [1, 1, 2, 2]
    assert set(fake.looked) == {rig.manager.lane.flights[0].last.hash}
    assert (await build(rig, fake))[0] == (S.INCLUDED, None)
    await closed(rig)


@pytest.mark.fault("T40")
@pytest.mark.parametrize("fate", ["FAILED", "CANCELLED"])
async def test_what_a_relay_gave_up_goes_public_at_once_if_it_may(tmp_path: Path, fake: FakeRelay, fate: str) -> None:
    rig = await rigged(tmp_path, fake, replace(FALLBACK, private_blocks=20), status=fake.status)
    await rig.submit(intent())
    fake.fates[rig.manager.lane.flights[0].last.hash] = fate
    await rig.mine(skip=True)
    assert [tx.to for tx in rig.chain.sent] == [TO]
    fake.fates.clear()
    await rig.mine(skip=True)
    assert len(rig.chain.sent) == 2  # what is public stays public
    await rig.mine(3)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T40")
@pytest.mark.parametrize("fate", ["FAILED", "UNKNOWN", "who knows"])
async def test_and_otherwise_is_given_to_it_again(tmp_path: Path, fake: FakeRelay, fate: str) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, private_blocks=20, bump_after=50), status=fake.status)
    await rig.submit(intent())
    fake.fates[rig.manager.lane.flights[0].last.hash] = fate
    await rig.mine(2, skip=True)
    assert (rig.chain.sent, [asked.method for asked in fake.asked]) == ([], ["eth_sendPrivateTransaction"] * 3)
    await closed(rig)


@pytest.mark.fault("T40", "R23")
async def test_a_relay_that_says_included_is_not_believed_for_longer_than_its_blocks(
    tmp_path: Path, fake: FakeRelay
) -> None:
    rig = await rigged(tmp_path, fake, replace(FALLBACK, private_blocks=3, bump_after=50), status=fake.status)
    await rig.submit(intent())
    fake.fates[rig.manager.lane.flights[0].last.hash] = "INCLUDED"
    await rig.mine(2, skip=True)
    assert rig.chain.sent == []
    await rig.mine(skip=True)
    assert [tx.to for tx in rig.chain.sent] == [TO]
    await closed(rig)


@pytest.mark.fault("T43")
@pytest.mark.parametrize("mood", [Mood.KEEP, Mood.DOWN])
async def test_a_relay_is_asked_to_forget_it_once_before_everybody_gets_it(
    tmp_path: Path, fake: FakeRelay, mood: Mood, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await rigged(tmp_path, fake, replace(FALLBACK, private_blocks=1, bump_after=50))
    await rig.submit(intent())
    fake.mood, held, send = mood, list[int](), rig.chain.send

    async def sending(raw: bytes) -> Any:
        held.append(sum(asked.method == "eth_cancelPrivateTransaction" for asked in fake.asked))
        return await send(raw)

    monkeypatch.setattr(rig.chain, "send", sending)
    await rig.mine(2, skip=True)
    assert held == [1, 1]
    [cancel] = [asked for asked in fake.asked if asked.method == "eth_cancelPrivateTransaction"]
    assert cancel.params == {"txHash": f"0x{rig.manager.lane.flights[0].last.hash.hex()}"}
    assert bool(fake.held) is (mood is Mood.DOWN)  # one nonce, one effect, whatever it still holds
    await build(rig, fake)
    await build(rig, fake)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T43", "T33")
async def test_before_a_no_op_the_relay_is_asked_to_forget_every_attempt(tmp_path: Path, fake: FakeRelay) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, private_blocks=25, bump_after=1))
    await rig.submit(intent(valid_until=12 * 2))
    await rig.mine(2, skip=True)  # a dearer attempt is out
    acts = {attempt.hash for attempt in rig.manager.lane.flights[0].attempts}
    assert len(acts) > 1 and set(fake.held) == acts
    await rig.mine(skip=True)
    assert (fake.held, {tx.to for tx in rig.chain.sent}) == ({}, {SIGNER.address})
    await closed(rig)


@pytest.mark.fault("R27", "R28")
@pytest.mark.parametrize("body", [b"x" * 100_000, b"[" * 50_000, b"<html>", b"null", b'{"status": 7}'])
async def test_a_fate_that_is_none_is_unknown(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web

    async def tell(self: FakeRelay, request: Any) -> web.Response:
        return web.Response(body=body)

    monkeypatch.setattr(FakeRelay, "_tell", tell)
    async with FakeRelay() as other:
        relay = Relay(other.url, NAME, CURVE, status=other.status)
        assert await relay.fate(bytes(32)) is Fate.UNKNOWN
        await relay.close()


@pytest.mark.fault("T42")
async def test_a_bundle_that_was_not_included_is_told_of_by_the_relays_statistics(
    tmp_path: Path, fake: FakeRelay
) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, bump_after=50), method="eth_sendBundle")
    await rig.submit(intent())
    hash, block = rig.manager.lane.flights[0].last.hash, rig.chain.head.number + 1
    name, seen = f"0x{hash.hex()}", {"pubkey": "0xaa", "timestamp": "2026-11-29T00:00:00Z"}
    fake.stats[name, block] = {"isSimulated": True, "consideredByBuildersAt": [seen, seen], "sealedByBuildersAt": None}
    with capture_logs() as lines:
        await rig.mine(2, skip=True)
    told = [line for line in lines if line["event"] == "relay.bundle"]
    assert [(line["hash"], line["block"], line["simulated"], line["considered"], line["sealed"]) for line in told] == [
        (name, block, True, 2, 0),
        (name, block + 1, False, 0, 0),
    ]
    asked = [one.params for one in fake.asked if one.method == "flashbots_getBundleStatsV2"]
    assert asked[0] == {"bundleHash": name, "blockNumber": hex(block)}
    await build(rig, fake)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


@pytest.mark.fault("T39")
@pytest.mark.parametrize("said", [None, "text", [1], {"consideredByBuildersAt": 7}])
async def test_statistics_that_are_none_change_nothing(tmp_path: Path, fake: FakeRelay, said: Any) -> None:
    rig = await rigged(tmp_path, fake, replace(PRIVATE, bump_after=50), method="eth_sendBundle")
    await rig.submit(intent())
    fake.stats[f"0x{rig.manager.lane.flights[0].last.hash.hex()}", rig.chain.head.number + 1] = said
    await rig.mine(skip=True)
    await build(rig, fake)
    assert rig.chain.effects(TO) == 1
    await closed(rig)


async def test_without_a_relay_a_private_intent_is_refused(tmp_path: Path) -> None:
    rig = await guarded(tmp_path, PRIVATE)
    assert (await refused(rig, intent())).why is Reason.NO_ROUTE
    assert (await rig.submit(intent(2, route=Route.FALLBACK)))[0].state is S.SIGNED


@pytest.mark.fault("R27", "R28")
@pytest.mark.parametrize("body", [b"x" * 100_000, b"[" * 50_000, b"<html>", b"null", b'{"id": 99, "result": "0x"}'])
async def test_an_answer_that_is_none_says_nothing(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web

    async def serve(self: FakeRelay, request: Any) -> web.Response:
        return web.Response(body=body)

    monkeypatch.setattr(FakeRelay, "_serve", serve)
    async with FakeRelay() as other:
        relay = Relay(other.url, NAME, CURVE)
        said = await relay.send(b"raw", 1, 2)
        assert not said.accepted
        assert said.error.startswith("transport: relay: ")
        await relay.close()


async def test_a_request_to_cancel_names_the_hash(fake: FakeRelay) -> None:
    relay = Relay(fake.url, NAME, CURVE)
    await relay.send(b"raw", 1, 9)
    assert list(fake.held) == [keccak(b"raw")]
    await relay.cancel(keccak(b"raw"))
    assert not fake.held
    await relay.close()


@pytest.mark.fault("L02")
def test_its_url_is_not_shown() -> None:
    assert "secret" not in repr(Relay("https://relay.example/secret?key=secret", NAME, CURVE))
