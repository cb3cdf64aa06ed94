"""``/livez``, ``/readyz`` and ``/metrics`` on a loopback address, for whoever looks after the process.

Read-only and without secrets: no addresses, URLs, settings or traces. Anything but a GET or HEAD is refused, as is a
Host that is not this machine (a web page must not reach us by a name of its own). A slow or hostile reader costs a
connection of few, and never the keeper.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from keeper import __version__
from keeper.errors import Misconfigured
from keeper.process.vitals import Vitals

if TYPE_CHECKING:
    from aiohttp import web

CONNECTIONS: Final = 32
BODY: Final = 4_096  # bytes
SECONDS: Final = 5.0  # for one request
NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

log = structlog.get_logger("keeper")
Gauges = Callable[[], Iterable[tuple[str, str, float]]]  # name, labels, value


async def serve(vitals: Vitals, gauges: Gauges, host: str, port: int) -> None:
    """Until cancelled. Misconfigured when the port is taken."""
    from aiohttp import web

    app = web.Application(client_max_size=BODY, middlewares=[_guarded()])
    pages = _Pages(vitals, gauges)
    for page in (pages.livez, pages.readyz, pages.metrics):
        app.router.add_get(f"/{page.__name__}", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=CONNECTIONS).start()
    except OSError as error:
        await runner.cleanup()
        raise Misconfigured(
            f"cannot listen on port {port}: {error.strerror}", help="set http.listen to a free port"
        ) from None
    log.info("http.listening", host=host, port=runner.addresses[0][1])
    try:
        await _limit(runner)
    finally:
        await runner.cleanup()


async def _limit(runner: Any) -> None:
    """For ever: connections that say nothing, or are too many, are cut."""
    since = dict[Any, float]()
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1.0)
        present = list(runner.server.connections)
        since = {one: since.get(one, loop.time()) for one in present}
        old = [one for one in present if loop.time() - since[one] > SECONDS]
        for one in {*old, *present[CONNECTIONS:]}:
            if one.transport is not None:
                one.transport.abort()


def _guarded() -> Any:
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        host = request.host.rpartition(":")[0] if request.host.count(":") == 1 or "]:" in request.host else request.host
        if host not in NAMES:
            return web.Response(status=403, text="not this host\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="read-only\n", headers={"Allow": "GET, HEAD"})
        return await handler(request)

    return guard


class _Pages:
    def __init__(self, vitals: Vitals, gauges: Gauges) -> None:
        self._vitals, self._gauges = vitals, gauges

    async def livez(self, request: web.Request) -> web.Response:
        return _health(() if self._vitals.alive else ("stuck",))

    async def readyz(self, request: web.Request) -> web.Response:
        return _health(self._vitals.unready())

    async def metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text=exposition(self._vitals, self._gauges), content_type="text/plain")


def _health(reasons: Sequence[str]) -> web.Response:
    from aiohttp import web

    return web.json_response({"ok": not reasons, "reasons": list(reasons)}, status=503 if reasons else 200)


# ─── metrics ──────────────────────────────────────────────────────────────────────────────────────


def exposition(vitals: Vitals, gauges: Gauges) -> str:
    """Prometheus' text format, with the names of ``operator.md`` 4.5."""
    lines = [f"{name}{{{labels}}} {value:.6g}" if labels else f"{name} {value:.6g}" for name, labels, value in (
        ("keeper_build_info", f'version="{__version__}"', 1.0),
        ("keeper_ready", "", float(not vitals.unready())),
        ("keeper_event_loop_lag_seconds", "", vitals.lag),
        ("keeper_tasks", "", float(len(asyncio.all_tasks()))),
        ("keeper_memory_peak_bytes", "", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0),
        *_head(vitals),
        *((f"keeper_{name}_total", "", float(count)) for name, count in sorted(vitals.counts.items())),
        *gauges(),
    )]  # fmt: skip
    return "\n".join(lines) + "\n"


def _head(vitals: Vitals) -> Iterable[tuple[str, str, float]]:
    if vitals.head is not None:
        yield "keeper_processed_block", "", float(vitals.head.number)
        yield "keeper_head_age_seconds", "", vitals.head_age
