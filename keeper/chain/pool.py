"""Several endpoints of one chain as if they were one.

A question goes to the endpoint that stands best, and on failure to the next; a transaction goes to all at once.
No endpoint is believed before it has shown the chain that we are on, on each new connection. ``watch`` keeps asking
all of them for their head, so that one that lags, hangs or left is known before it is needed.

``session`` changes with the endpoint in use, so that a follower greets the new one as it would a new connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from keeper.chain.codec import octets, quantity, record
from keeper.chain.rpc import CALL_SECONDS, Handler, Request, Rpc, RpcError, connect
from keeper.chain.standing import Standings, State
from keeper.errors import KeeperError, NodeUnavailable, RateLimited, Retry, WrongChain
from keeper.ports import Clock
from keeper.tx.answers import Answer, classify  # arrow: of many refusals, which is worth hearing

T = TypeVar("T")

SEND: Final = "eth_sendRawTransaction"
COUNT: Final = "eth_getTransactionCount"
LINGER: Final = 1.5  # seconds for other endpoints to take a transaction, once one has answered
LOOK_SECONDS: Final = 5.0  # for a look at an endpoint
IDENTITY: Final[Sequence[Request]] = (("eth_chainId", ()), ("eth_getBlockByNumber", ("0x0", False)))
LOOK: Final[Sequence[Request]] = (*IDENTITY, ("eth_getBlockByNumber", ("latest", False)))
TELLING: Final = (Answer.HAVE_IT, Answer.CONSUMED, Answer.REPLACE_LOW, Answer.MAYBE)  # the most telling first


class Pool:
    """Stands where an ``Rpc`` stands."""

    def __init__(self, rpcs: Sequence[Rpc], standings: Standings) -> None:
        self.rpcs, self.standings = rpcs, standings
        self._checked = [0] * len(rpcs)  # the session of each in which it has shown its chain
        self._current = 0
        self._switches = 0
        self._sending = set[asyncio.Task[Any]]()

    def __repr__(self) -> str:
        return f"Pool({self.endpoint})"

    # ─── as one endpoint ───

    @property
    def endpoint(self) -> str:
        return ", ".join(dict.fromkeys(one.name for one in self.standings.of))

    @property
    def pushes(self) -> bool:
        return self.rpcs[self._current].pushes

    @property
    def session(self) -> int:
        return self._switches * 2**32 + self.rpcs[self._current].session

    async def call(self, method: str, *params: Any, timeout: float = CALL_SECONDS) -> Any:  # noqa: ASYNC109
        """As ``Rpc.call``, from the first endpoint that answers; a refusal is an answer."""
        if method == SEND:
            return await self._broadcast(params, timeout)
        if method == COUNT:
            return await self._count(params, timeout)
        return await self._somewhere(lambda rpc, seconds: rpc.call(method, *params, timeout=seconds), timeout)

    async def batch(self, calls: Sequence[Request], timeout: float = CALL_SECONDS) -> list[Any]:  # noqa: ASYNC109
        return await self._somewhere(lambda rpc, seconds: rpc.batch(calls, timeout=seconds), timeout)

    async def subscribe(self, kind: str, handler: Handler, *params: Any) -> str:
        """At the endpoint in use; ends with its connection, or when another one takes over."""
        return await self.rpcs[self._current].subscribe(kind, handler, *params)

    async def unsubscribe(self, name: str) -> None:
        await self.rpcs[self._current].unsubscribe(name)

    async def reset(self) -> None:
        """Who uses the pool has no use for what the present endpoint says: another one is better."""
        self.standings.failed(self._current, NodeUnavailable("what it answers is of no use"))
        await self.rpcs[self._current].reset()

    async def close(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, *(rpc.close() for rpc in self.rpcs), return_exceptions=True)

    # ─── one after the other ───

    async def _somewhere(self, ask: Callable[[Rpc, float], Awaitable[T]], seconds: float) -> T:
        loop, failure = asyncio.get_running_loop(), None
        deadline, order = loop.time() + seconds, self.standings.order()
        for left, at in zip(range(len(order) - 1, -1, -1), order, strict=True):
            share = (deadline - loop.time()) / (2 if left else 1)
            if share <= 0:
                break
            try:
                return await self._at(at, ask, share)
            except (NodeUnavailable, RateLimited, WrongChain) as error:
                failure = error
        raise failure or WrongChain(f"{self.endpoint}: every endpoint is on another chain than configured")

    async def _at(self, at: int, ask: Callable[[Rpc, float], Awaitable[T]], seconds: float) -> T:
        """Ask one endpoint, and note how it did."""
        try:
            await self._show_chain(at, seconds)
            found = await ask(self.rpcs[at], seconds)
        except (NodeUnavailable, RateLimited) as error:
            self.standings.failed(at, error)
            raise
        except (Retry, RpcError):  # it understood, and has its reasons
            self.standings.answered(at)
            await self._use(at)
            raise
        self.standings.answered(at)
        await self._use(at)
        return found

    async def _show_chain(self, at: int, seconds: float) -> None:
        """Raises WrongChain unless this connection is known to lead to our chain."""
        rpc = self.rpcs[at]
        while self._checked[at] != (session := rpc.session):
            if not self.standings.identified(at, identity(await rpc.batch(IDENTITY, timeout=seconds))):
                raise WrongChain(f"{rpc.endpoint}: another chain than configured")
            self._checked[at] = session

    async def _use(self, at: int) -> None:
        if at != self._current:
            former, self._current = self.rpcs[self._current], at
            self._switches += 1
            await former.reset()  # ends its subscriptions, so that whoever listens listens here

    # ─── several at once ───

    async def _count(self, params: Sequence[Any], seconds: float) -> Any:
        """Mined transactions, by two endpoints that stand well: the lower, for only what both know is certain."""
        witnesses = [at for at in self.standings.order() if self.standings.of[at].state is State.ALIVE][:2]
        ask = lambda rpc, within: rpc.call(COUNT, *params, timeout=within)  # noqa: E731
        if len(witnesses) < 2:
            return await self._somewhere(ask, seconds)
        first, second = await asyncio.gather(
            self._somewhere(ask, seconds), self._quietly(witnesses[1], ask, seconds / 2)
        )
        return first if second is None else min(first, second, key=lambda count: quantity(count, COUNT))

    async def _quietly(self, at: int, ask: Callable[[Rpc, float], Awaitable[T]], seconds: float) -> T | None:
        try:
            await self._show_chain(at, seconds)
            found = await ask(self.rpcs[at], seconds)
        except KeeperError as error:
            if isinstance(error, NodeUnavailable | RateLimited):
                self.standings.failed(at, error)
            return None
        self.standings.answered(at)
        return found

    async def _broadcast(self, params: Sequence[Any], seconds: float) -> Any:
        """To every endpoint of our chain. They go on when the caller is gone, and none is asked twice."""
        tasks = {asyncio.create_task(self._send(at, params, seconds)) for at in self.standings.order()}
        self._sending |= tasks
        for task in tasks:
            task.add_done_callback(self._sending.discard)
        said, waiting = list[Any](), tasks
        while waiting and not any(isinstance(one, str) for one in said):
            done, waiting = await asyncio.wait(
                waiting, timeout=LINGER if said else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            said += [task.result() for task in done]
        return heard(said) if said else self._nobody()

    async def _send(self, at: int, params: Sequence[Any], seconds: float) -> Any:
        """The hash, or the error as a value."""
        rpc = self.rpcs[at]
        try:
            await self._show_chain(at, seconds)
            return await rpc.call(SEND, *params, timeout=seconds)
        except (NodeUnavailable, RateLimited) as error:
            self.standings.failed(at, error)
            return error
        except KeeperError as error:
            return error

    def _nobody(self) -> Any:
        raise WrongChain(f"{self.endpoint}: every endpoint is on another chain than configured")

    # ─── looking after them ───

    async def watch(self, clock: Clock, every: float) -> None:
        """For ever: look at each endpoint every so many seconds."""
        while True:
            await self.look()
            await clock.sleep(every)

    async def look(self) -> None:
        """At all endpoints at the same time: chain, head, and how long the answer took."""
        found = await asyncio.gather(*(self._look(at) for at in range(len(self.rpcs))))
        self.standings.seen({at: head for at, head in enumerate(found) if head is not None})

    async def _look(self, at: int) -> int | None:
        """Its head; None when it does not count."""
        loop, rpc = asyncio.get_running_loop(), self.rpcs[at]
        standing = self.standings.of[at]
        if standing.state in (State.LIMITED, State.UNUSABLE) and self.standings.now() < standing.until:
            return None
        began = loop.time()
        try:
            *chain, head = await rpc.batch(LOOK, timeout=LOOK_SECONDS)
            if not self.standings.identified(at, identity(chain)):
                return None
            number = quantity(record(_sound(head), "block").get("number"), "block.number")
        except (Retry, RpcError) as error:
            self.standings.failed(at, error)
            return None
        self.standings.answered(at, loop.time() - began)
        return number


def identity(answers: Sequence[Any]) -> tuple[int, bytes]:
    """Chain id and genesis hash, from the answers to ``IDENTITY``."""
    number, genesis = map(_sound, answers)
    return quantity(number, "eth_chainId"), octets(record(genesis, "block").get("hash"), "block.hash", 32)


def _sound(answer: Any) -> Any:
    if isinstance(answer, KeeperError):
        raise answer
    return answer


def heard(said: Sequence[Any]) -> Any:
    """Of what several endpoints said to one transaction, what tells most: "never valid" only when all say so."""
    accepted = next((one for one in said if isinstance(one, str)), None)
    if accepted is not None:
        return accepted
    raise min((one for one in said if isinstance(one, KeeperError)), key=_telling)


class _Said:
    """Implements ``ports.Sent``."""

    accepted = False

    def __init__(self, error: KeeperError) -> None:
        self.error = error.message.lower() if isinstance(error, RpcError) else f"transport: {error}".lower()


def _telling(error: KeeperError) -> int:
    meaning = classify(_Said(error))
    if meaning is Answer.DEFINITE:
        return len(TELLING) + 1
    return TELLING.index(meaning) if meaning in TELLING else len(TELLING)


def pool(urls: Sequence[str], standings: Standings | None) -> Rpc | Pool:
    """A client for one endpoint, or for several as one."""
    rpcs = [connect(url) for url in urls]
    return rpcs[0] if standings is None or len(rpcs) == 1 else Pool(rpcs, standings)
