"""The picture of ``keeper stress``."""

from __future__ import annotations

import numpy as np

from keeper.margin.cascade import Level
from keeper.margin.merton import Jumps, below
from keeper.observe import svg
from keeper.observe.svg import AMBER, BLUE, GREY, INK, RED, Axis, Chart
from keeper.protocols.options.foresight import DAY, LEVELS, Cascade, Stress

WIDTH, PANEL, LEFT, RIGHT = 1000, 300, 90, 920
LOW, HIGH = -0.5, 0.5  # moves that are drawn
DENSE = 160  # points of the density


def draw(block: int, found: Stress) -> str:
    count = len(found.cascades) + 1
    charts = [_cascade(u, c, 150 + i * PANEL) for i, (u, c) in enumerate(found.cascades.items())]
    charts.append(_fund(found, 150 + len(found.cascades) * PANEL))
    q = found.question
    lines = [
        f"block {block} · {len(found.accounts)} accounts · insurance fund ${found.fund:,.0f}",
        f"pool's weight in the reported price {q.omega:.0%} · Merton: sigma {found.sigma:.0%}, {q.intensity:g} jumps a "
        f"year of {q.jump:+.0%} ± {q.spread:.0%} · horizon {q.horizon / 3600:g} h",
    ]
    return svg.page(WIDTH, 150 + count * PANEL, "What a move would set off", lines, charts)


def _within(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if LOW < x < HIGH]


def _percent(x: float) -> str:
    return f"{x:+.0%}" if x else "today"


def _money(x: float) -> str:
    size, sign = abs(x), "-" if x < 0 else ""
    for unit, name in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if size >= unit:
            return f"{sign}${size / unit:,.3g} {name}"
    return f"{sign}${size:,.0f}"


def _cascade(u: int, c: Cascade, top: float) -> Chart:
    flow = _within([(v.factor - 1, -v.sold * c.ladder.price * v.factor) for v in c.levels])
    alone = _within([(v.factor - 1, -_first(v) * c.ladder.price * v.factor) for v in c.levels])
    counts = _within([(v.factor - 1, float(v.accounts)) for v in c.levels])
    most = max((abs(y) for _, y in flow), default=0.0) or 1.0
    x = Axis(LOW, HIGH, LEFT, RIGHT)
    y = Axis(-1.1 * most, 1.1 * most, top + PANEL - 70, top + 30)
    right = Axis(-1.1 * _most(counts), 1.1 * _most(counts), top + PANEL - 70, top + 30)
    title = f"Underlying {u}, today at ${c.ladder.price:,.2f}: what each move of its price would force"
    chart = Chart(
        title,
        x,
        y,
        _percent,
        _money,
        right,
        _count,
    )
    chart.bars(flow, 0.014, RED, "forced flow into the pool: sold below 0, bought above")
    chart.bars(alone, 0.007, INK, "of it, at once; the rest is triggered")
    chart.line(counts, BLUE, "accounts liquidated (right)", right=True)
    return chart


def _count(x: float) -> str:
    return f"{x:.0f}" if x >= 0 and x == int(x) else ""


def _first(level: Level) -> float:
    return level.generations[0].sold if level.generations else 0.0


def _most(points: list[tuple[float, float]]) -> float:
    return max((y for _, y in points), default=0.0) or 1.0


def _fund(found: Stress, top: float) -> Chart:
    moves = np.linspace(LOW, HIGH, DENSE)
    lacking = np.interp(moves, LEVELS - 1, found.lacking)
    most = max(float(lacking.max()), found.fund, 1.0) * 1.1
    x, y = Axis(LOW, HIGH, LEFT, RIGHT), Axis(0.0, most, top + PANEL - 70, top + 30)
    chart = Chart(
        "All prices together: what the accounts would lack, and how likely the move is", x, y, _percent, _money
    )
    density = _density(found, moves)
    scale = 0.8 * most / max(float(density.max()), 1e-12)
    chart.area([(float(m), float(d * scale)) for m, d in zip(moves, density, strict=True)], GREY, "likelihood (Merton)")
    chart.line(list(zip(moves.tolist(), lacking.tolist(), strict=True)), RED, "losses beyond equity, if nobody acts")
    chart.level(found.fund, AMBER, f"insurance fund {_money(found.fund)}")
    return chart


def _density(found: Stress, moves: np.ndarray) -> np.ndarray:
    q = found.question
    jumps = Jumps(found.sigma, q.intensity, q.mean, q.spread)
    t = q.horizon / 86_400 * DAY
    cdf = np.array([below(float(np.log1p(m)), t, jumps) for m in moves])
    return np.asarray(np.gradient(cdf, moves))
