"""A canary: whatever goes wrong, nothing shows more of a node's URL than scheme and host."""

import logging
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from keeper.chain.endpoint import SCAN_CHARS, TEXT_CHARS, Endpoint
from keeper.chain.follower import Follower, Limits
from keeper.chain.node import Node
from keeper.chain.rpc import connect
from keeper.clock import SystemClock
from keeper.errors import ChainLost, KeeperError
from tests.unit.rpc_server import Server, error, result

USER, PASSWORD, KEY, TOKEN = "canaryuser", "p%40ssCANARY", "canaryKEY0123", "canaryTOKEN"
LOGIN = f"{USER}:p@ssCANARY"
SECRETS = (USER, PASSWORD, "p@ssCANARY", KEY, TOKEN, "/deep/", b64encode(LOGIN.encode()).decode())


def with_secrets(url: str) -> str:
    return f"{url.replace('://', f'://{USER}:{PASSWORD}@')}/deep/{KEY}?token={TOKEN}"


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret.lower() in text.lower()]


def everything(caught: BaseException) -> str:
    """All that an exception can say, the ones behind it included."""
    texts = [*traceback.format_exception(caught), repr(caught), repr(caught.args), str(vars(caught))]
    behind = [each for each in (caught.__cause__, caught.__context__) if each is not None]
    return "\n".join(texts + [everything(each) for each in behind])


@pytest.fixture(params=["ws", "http"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    served = await Server(request.param, tmp_path).start()
    yield served
    await served.stop()


def echo_the_url(server: Server) -> None:
    words = f"upstream {with_secrets('https://other')} and {KEY} {TOKEN} {LOGIN} {SECRETS[-1]} failed"

    def reply(request: Any) -> bytes:
        if isinstance(request, list):
            return b"[" + b",".join(map(reply, request)) + b"]"
        return error(request, -32603, words, data={"url": words})

    server.reply = reply


def refuse(server: Server) -> None:
    server.status = 403


def redirect(server: Server) -> None:
    server.status, server.headers = 302, {"Location": with_secrets("http://127.0.0.1:9")}


def babble(server: Server) -> None:
    server.reply = lambda _: f"<html>{KEY}</html>".encode()


def flood(server: Server) -> None:
    server.reply = lambda request: result(request, KEY * 10_000)


def say_nothing(server: Server) -> None:
    server.reply = lambda _: ()


@pytest.mark.fault("R34", "R08", "L02")
@pytest.mark.parametrize("trouble", [echo_the_url, refuse, redirect, babble, flood, say_nothing])
async def test_no_failure_of_a_call_shows_the_url(
    server: Server, trouble: Callable[[Server], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    trouble(server)
    rpc = connect(with_secrets(server.url), answer_bytes=50_000)
    with capture_logs() as lines, pytest.raises(KeeperError) as caught:
        await rpc.call("eth_chainId", timeout=0.2)
    await rpc.close()
    assert leaks(everything(caught.value) + str(lines) + caplog.text + repr(rpc)) == []
    assert "127.0.0.1" in str(caught.value)


async def test_nobody_at_home_does_not_show_the_url(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rpc = connect(with_secrets(server.url))
    await server.stop()
    with pytest.raises(KeeperError) as caught:
        await rpc.call("eth_chainId")
    await rpc.close()
    assert leaks(everything(caught.value) + caplog.text) == []


async def test_a_follower_that_gives_up_does_not_show_the_url(server: Server) -> None:
    echo_the_url(server)
    rpc = connect(with_secrets(server.url))
    follower = Follower(Node(rpc), lambda: [], SystemClock(), Limits(patience=0.1, backoff=0.05))
    with capture_logs() as lines, pytest.raises(ChainLost) as caught:
        await anext(follower.events(0))
    await rpc.close()
    assert leaks(everything(caught.value) + str(lines) + repr(follower)) == []
    assert lines


@pytest.mark.fault("R34", "L02")
async def test_a_refused_transaction_does_not_show_the_url(server: Server) -> None:
    echo_the_url(server)
    rpc = connect(with_secrets(server.url))
    answer = await Node(rpc).send(b"\x02")
    await rpc.close()
    assert leaks(repr(answer)) == []


@pytest.mark.parametrize("url", ["ftp://{}", "http://{}:port", "http://[{}", "{}://x", "http://{}@:1/"])
def test_a_url_that_cannot_be_used_is_not_shown_either(url: str) -> None:
    with pytest.raises(KeeperError) as caught:
        connect(url.format(KEY))
    assert leaks(everything(caught.value)) == []


def test_the_secrets_reach_the_node_all_the_same() -> None:
    assert Endpoint(with_secrets("https://node.example")).url == with_secrets("https://node.example")


@pytest.mark.fault("L05", "A15")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"see https://a.example:8545/v3/{KEY}?x=1, then", "see https://a.example then"),
        ("wss://u:p@b.example", "wss://b.example"),
        ("nonce too low: next nonce 5, tx nonce 4", "nonce too low: next nonce 5, tx nonce 4"),
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("x" * 1_000, "x" * TEXT_CHARS),
    ],
)
def test_texts_of_others_are_cut_down_to_what_is_safe(text: str, shown: str) -> None:
    assert Endpoint(with_secrets("https://node.example")).scrub(text) == shown


def test_a_secret_that_is_cut_in_half_is_not_shown() -> None:
    endpoint = Endpoint(with_secrets("https://node.example"))
    for gap in range(SCAN_CHARS - 40, SCAN_CHARS):
        assert KEY[:3] not in endpoint.scrub("sorry" + " " * gap + KEY + " and more")


def test_a_socket_path_is_not_shown() -> None:
    endpoint: Any = Endpoint("/home/someone/node.ipc")
    assert (repr(endpoint), endpoint.scrub("no /home/someone/node.ipc")) == ("ipc", "no ***")
