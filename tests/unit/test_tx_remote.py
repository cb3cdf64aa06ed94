"""A signer elsewhere may refuse; it may not redirect."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped]
from aiohttp import web

from keeper.errors import Misconfigured, NodeUnavailable, WrongChain
from keeper.model import Call
from keeper.tx.budget import Budget
from keeper.tx.guard import Forbidden, Guard
from keeper.tx.keys import ORDER, Key
from keeper.tx.machine import Refused
from keeper.tx.remote import RemoteSigner, Substituted, mutual_tls
from keeper.tx.settings import Limits
from keeper.tx.signer import local_signer
from tests.unit.tx_rig import Rig, S, intent

KEY = Key(b"\x46" * 32)
LOCAL = local_signer(KEY, 31337)
THIEF = local_signer(Key(b"\x66" * 32), 31337)
CALL = Call(b"\x22" * 20, b"\1\2\3\4", 5)


class Elsewhere:
    """What a signing service does, and what a broken one might do instead."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.bend: Callable[[list[Any]], list[Any]] = list  # of the fields of what is signed or returned
        self.signer = LOCAL
        self.answer: Any = None  # instead of a result
        self.status = 200

    async def serve(self, request: web.Request) -> web.Response:
        call = await request.json()
        [tx] = call["params"]
        self.asked.append(tx)
        if self.status != 200 or self.answer is not None:
            return web.json_response({"id": call["id"], **(self.answer or {})}, status=self.status)
        made = Call(bytes.fromhex(tx["to"][2:]), bytes.fromhex(tx["data"][2:]), int(tx["value"], 16))
        names = ("gas", "maxFeePerGas", "maxPriorityFeePerGas")
        gas, most, tip = (int(tx[name], 16) for name in names)
        raw, _ = self.signer.sign(int(tx["nonce"], 16), made, gas, most, tip, 31337)
        raw = b"\2" + rlp.encode(self.bend(rlp.decode(raw[1:])))
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": f"0x{raw.hex()}"})


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    service, app = Elsewhere(), web.Application()
    app.router.add_post("/", service.serve)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield service, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


def remote(url: str, allowed: Any = None, **limits: Any) -> RemoteSigner:
    guard = Guard(31337, LOCAL.address, allowed, Budget(Limits(**limits), wall=None))
    return RemoteSigner(url, LOCAL.address, 31337, guard, seconds=1)


@pytest.mark.fault("K08")
async def test_it_signs_what_a_key_here_would_sign(elsewhere: tuple[Elsewhere, str]) -> None:
    one = remote(elsewhere[1])
    assert await one.sign(7, CALL, 30_000, 9, 8, 31337) == LOCAL.sign(7, CALL, 30_000, 9, 8, 31337)
    await one.close()


def put(index: int, value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda fields: [*fields[:index], value, *fields[index + 1 :]]


def high_s(fields: list[Any]) -> list[Any]:
    """The other signature that is valid for the same bytes."""
    parity, r, s = fields[-3:]
    return [*fields[:-3], b"" if parity else b"\1", r, (ORDER - int.from_bytes(s)).to_bytes(32)]


@pytest.mark.fault("K08")
@pytest.mark.parametrize(
    "bend",
    [
        put(1, b"\x08"),  # nonce
        put(2, b"\x07"),  # tip
        put(3, b"\x0a"),  # fee
        put(4, b"\x75\x31"),  # gas
        put(5, b"\x66" * 20),  # to
        put(6, b"\x06"),  # value
        put(7, b"\1\2\3\5"),  # data
        put(8, [[b"\x22" * 20, []]]),  # access list
        put(0, b"\1"),  # chain
        put(10, b"\1" * 32),  # r
        high_s,
        lambda fields: fields[:-1],
        lambda fields: [*fields, b"\1"],
    ],
)
async def test_what_is_not_what_was_asked_for_is_not_used(elsewhere: tuple[Elsewhere, str], bend: Any) -> None:
    elsewhere[0].bend = bend
    one = remote(elsewhere[1])
    with pytest.raises(Substituted):
        await one.sign(7, CALL, 30_000, 9, 8, 31337)
    await one.close()


@pytest.mark.fault("K08")
async def test_nor_is_a_signature_of_another_key(elsewhere: tuple[Elsewhere, str]) -> None:
    elsewhere[0].signer = THIEF
    one = remote(elsewhere[1])
    with pytest.raises(Substituted, match="another key"):
        await one.sign(7, CALL, 30_000, 9, 8, 31337)
    await one.close()


@pytest.mark.fault("K08")
@pytest.mark.parametrize("answer", [{"error": {"code": 1, "message": "locked"}}, {"result": None}, {"result": "0xzz"}])
async def test_no_signature_is_the_world_blinking(elsewhere: tuple[Elsewhere, str], answer: Any) -> None:
    elsewhere[0].answer = answer
    one = remote(elsewhere[1])
    with pytest.raises(NodeUnavailable):
        await one.sign(7, CALL, 30_000, 9, 8, 31337)
    elsewhere[0].answer, elsewhere[0].status = None, 502
    with pytest.raises(NodeUnavailable):
        await one.sign(7, CALL, 30_000, 9, 8, 31337)
    await one.close()


@pytest.mark.fault("K08", "P05", "P01")
async def test_our_own_guard_comes_first(elsewhere: tuple[Elsewhere, str]) -> None:
    one = remote(elsewhere[1], {(CALL.target, b"\1\2\3\5"): None}, tx_cost=10)
    with pytest.raises(Forbidden):
        await one.sign(7, CALL, 30_000, 9, 8, 31337)
    with pytest.raises(Refused):
        await one.sign(7, Call(CALL.target, b"\1\2\3\5"), 30_000, 9, 8, 31337)
    with pytest.raises(WrongChain):
        await one.sign(7, CALL, 30_000, 9, 8, 1)
    assert elsewhere[0].asked == []
    await one.close()


@pytest.mark.fault("K08")
async def test_a_manager_lives_with_it(elsewhere: tuple[Elsewhere, str], tmp_path: Path) -> None:
    service, url = elsewhere
    rig = Rig(tmp_path / "journal.db")
    rig.manager.lane.signer = remote(url)
    await rig.manager.recover()
    service.status = 503
    with pytest.raises(NodeUnavailable):
        await rig.submit(intent(1))
    assert rig.journal.next_nonce() == 0
    service.status = 200
    assert (await rig.submit(intent(1)))[0].state is S.SIGNED
    service.status = 503
    await rig.mine(4, skip=True)  # no replacement to be had: the same bytes again
    assert len({tx.hash for tx in rig.chain.sent}) == 1
    await rig.mine()
    assert rig.chain.effects(intent(1).call.target) == 1
    await rig.manager.lane.signer.close()


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot use the certificate"):
        mutual_tls(tmp_path / "nope.pem", tmp_path / "nope.key")


@pytest.mark.fault("K05")
def test_nothing_of_it_is_printed() -> None:
    one = remote("https://user:secret@signer.example/secret")
    assert "secret" not in repr(one)
