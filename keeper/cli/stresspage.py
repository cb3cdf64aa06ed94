"""The picture of ``keeper stress``."""

from __future__ import annotations

import numpy as np

from keeper.margin.cascade import Level
from keeper.margin.merton import Jumps, below
from keeper.observe import svg
from keeper.observe.svg import AMBER, BLUE, GREY, INK, RED, Axis, Chart
from keeper.protocols.options.foresight import DAY, LEVELS, Cascade, Stress

WIDTH, PANEL, LEFT, RIGHT, TOP = 1000, 300, 90, 920, 150
LOW, HIGH = -0.5, 0.5  # moves that are drawn
X = Axis(LOW, HIGH, LEFT, RIGHT)
DENSE = 160  # points of the density


def draw(block: int, found: Stress) -> str:
    maps = [(draw, u, c) for u, c in found.cascades.items() for draw in (_forced, _gamma)]
    charts = [draw(u, c, TOP + i * PANEL) for i, (draw, u, c) in enumerate(maps)]
    charts.append(_fund(found, TOP + len(maps) * PANEL))
    q = found.question
    lines = [
        f"block {block} · {len(found.accounts)} accounts · insurance fund ${found.fund:,.0f}",
        f"pool's weight in the reported price {q.omega:.0%} · Merton: sigma {found.sigma:.0%}, {q.intensity:g} jumps a "
        f"year of {q.jump:+.0%} ± {q.spread:.0%} · horizon {q.horizon / 3600:g} h",
    ]
    return svg.page(WIDTH, TOP + len(charts) * PANEL, "What a move would set off", lines, charts)


def _within(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that are drawn, to the very edges."""
    xs, ys = zip(*points, strict=True)
    ends = [(edge, float(np.interp(edge, xs, ys))) for edge in (LOW, HIGH)]
    return sorted({*ends, *(point for point in points if LOW < point[0] < HIGH)})


def _percent(x: float) -> str:
    return f"{x:+.0%}" if x else "today"


def _money(x: float) -> str:
    size, sign = abs(x), "-" if x < 0 else ""
    for unit, name in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if size >= unit:
            return f"{sign}${size / unit:,.3g} {name}"
    return f"{sign}${size:,.0f}"


def _forced(u: int, c: Cascade, top: float) -> Chart:
    """Flow by price level, in dollars, and accounts on the scale to the right."""
    flow = _within([(v.factor - 1, -v.sold * c.ladder.price * v.factor) for v in c.levels])
    alone = _within([(v.factor - 1, -_first(v) * c.ladder.price * v.factor) for v in c.levels])
    counts = _within([(v.factor - 1, float(v.accounts)) for v in c.levels])
    y, right = _even(_most(flow), top), _even(_most(counts), top)
    title = f"Underlying {u}, today at ${c.ladder.price:,.2f}: what each move of its price would force"
    chart = Chart(title, X, y, _percent, _money, right, _count)
    chart.area(flow, RED, "forced hedge flow into the pool: sold below 0, bought above", opacity=0.8)
    chart.area(alone, INK, "of it, at once; the rest is triggered", opacity=0.8)
    chart.line(counts, BLUE, "accounts liquidated (right)", right=True)
    return chart


def _gamma(u: int, c: Cascade, top: float) -> Chart:
    """Why: how their hedges change with the price; and by how much the fall feeds itself, to the right."""
    gamma = _within([(v.factor - 1, g * c.ladder.price) for v, g in zip(c.levels, c.gamma().tolist(), strict=True)])
    feeds = _within([(v.factor - 1, v.amplification) for v in c.levels])
    most = max(2.0, 1.1 * _most(feeds))
    y, right = (
        _even(_most(gamma), top),
        Axis(2 - most, most, top + PANEL - 70, top + 30),
    )  # 1, nothing, is in the middle
    title = f"Underlying {u}: gamma of those accounts, and how much each liquidation sets off"
    chart = Chart(title, X, y, _percent, _money, right, _times)
    chart.area(gamma, GREY, "gamma: change of all their hedges for 1 % of the price", opacity=0.6)
    chart.line(feeds, AMBER, "amplification: accounts in all for each at once (right)", right=True)
    return chart


def _even(most: float, top: float) -> Axis:
    """As far below 0 as above."""
    return Axis(-1.1 * most, 1.1 * most, top + PANEL - 70, top + 30)


def _times(x: float) -> str:
    return f"{x:g} x" if x >= 1 else ""


def _count(x: float) -> str:
    return f"{x:.0f}" if x >= 0 and x == int(x) else ""


def _first(level: Level) -> float:
    return level.generations[0].sold if level.generations else 0.0


def _most(points: list[tuple[float, float]]) -> float:
    return max((abs(y) for _, y in points), default=0.0) or 1.0


def _fund(found: Stress, top: float) -> Chart:
    moves = np.linspace(LOW, HIGH, DENSE)
    lacking = np.interp(moves, LEVELS - 1, found.lacking)
    most = max(float(lacking.max()), found.fund, 1.0) * 1.1
    y = Axis(0.0, most, top + PANEL - 70, top + 30)
    title = "All prices together: what the accounts would lack, and how likely the move is"
    chart = Chart(title, X, y, _percent, _money)
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
