"""``keeper margin FILE``: what a portfolio must hold under a rule set, and every summand of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keeper.cli.output import emit, table, usd
from keeper.units import wad

if TYPE_CHECKING:
    from keeper.margin.rules.bind import Fault
    from keeper.margin.rules.derive import Case
    from keeper.margin.rules.result import Line, Result, Scan
    from keeper.margin.rules.text import Mark
    from keeper.settings.located import Document, Place, Problem, Unusable


def run(args: argparse.Namespace) -> int:
    every = _assessed(_text(args.file), args.file, args.rules, args.case)
    if len(every) == 1:
        one = every[0]
        emit(args, _data(one), _shown(one), one.result.notes)
    else:
        emit(args, {"cases": {one.name: _data(one) for one in every}}, _listed(every))
    return 0


@dataclass(frozen=True, slots=True)
class Assessed:
    """``published``: the margins that a file of Derive's says itself."""

    result: Result
    name: str = ""
    published: tuple[float, float] | None = None


def _assessed(text: str, name: str, rules: str | None, case: str | None) -> list[Assessed]:
    """The portfolio of a file, or the cases of one of Derive's. Raises Unusable with every problem at its place."""
    from keeper.margin.rules import derive
    from keeper.margin.rules.bind import Unreadable
    from keeper.margin.rules.text import NotJson, parse

    try:
        tree, marks = parse(text)
    except NotJson as error:
        raise _not_json(name, text, error.at, str(error)) from None
    try:
        cases = [one for one in derive.cases(tree) if case in (None, one.name)]
        if case is not None and not cases:
            raise Unreadable([_no_case(case, tree)])
        return [_case(one, rules) for one in cases] or [Assessed(_result(tree, rules))]
    except Unreadable as error:
        raise _refused(_document(name, text, tree, marks), error.faults) from None


def _case(case: Case, rules: str | None) -> Assessed:
    from keeper.margin.rules.bind import Unreadable

    own = rules in (None, case.tree["rules"])
    tree = case.tree if own else {key: one for key, one in case.tree.items() if key != "parameters"}
    try:
        return Assessed(_result(tree, rules), case.name, case.published if own else None)
    except Unreadable as error:
        raise Unreadable([case.at(fault) for fault in error.faults]) from None


def _result(tree: Any, rules: str | None) -> Result:
    from keeper.margin.rules.engine import assess
    from keeper.margin.rules.reading import read

    chosen, book = read(tree, rules)
    return assess(book, chosen)


def _no_case(name: str, tree: Any) -> Fault:
    from keeper.margin.rules.bind import Fault, nearest

    return Fault((), f'has no case "{name}"', nearest(name, tree if isinstance(tree, dict) else ()))


# ─── problems with the file ───────────────────────────────────────────────────────────────────────


def _text(name: str) -> str:
    from keeper.settings.located import Problem, Unusable

    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = Problem("KC101", f"no portfolio file {name}", help="config/margin has examples to copy")
    except (OSError, UnicodeDecodeError) as error:
        help = "it must be a file of UTF-8 text"
        problem = Problem("KC101", f"cannot read {name}: {type(error).__name__}", help=help)
    raise Unusable([problem])


def _document(name: str, text: str, tree: Any, marks: Mapping[Any, Mark]) -> Document:
    from keeper.settings.located import Document
    from keeper.settings.positions import Mark, Span

    placed = {keys: Mark(Span(*one.key), Span(*one.value), False) for keys, one in marks.items()}
    return Document(name, text, tree if isinstance(tree, dict) else {}, placed)


def _not_json(name: str, text: str, at: int, what: str) -> Unusable:
    from keeper.settings.located import Problem, Unusable
    from keeper.settings.positions import Span

    place = _document(name, text, {}, {}).stretch(Span(at, at + 1))
    return Unusable([Problem("KC105", f"not valid JSON: {what}", place)])


def _refused(document: Document, faults: Sequence[Fault]) -> Unusable:
    from keeper.settings.located import Unusable

    found = {_problem(document, fault): None for fault in faults}  # once each
    return Unusable(sorted(found, key=lambda one: one.place[1:4:2] if one.place else ()))


def _problem(document: Document, fault: Fault) -> Problem:
    from keeper.margin.rules.bind import dotted
    from keeper.settings.located import Problem

    code = "KC104" if fault.missing else "KC103" if fault.value else "KC102"
    place = _place(document, fault)
    return Problem(code, f"{dotted(fault.keys)} {fault.what}", place, help=fault.help)


def _place(document: Document, fault: Fault) -> Place | None:
    """Where it stands, or else the nearest object around it."""
    for length in range(len(fault.keys), -1, -1):
        value = fault.value and length == len(fault.keys)
        if place := document.place(fault.keys[:length], value=value or not length):
            return place
    return None


# ─── result ───────────────────────────────────────────────────────────────────────────────────────


def _data(one: Assessed) -> dict[str, Any]:
    r, published = one.result, one.published
    need_mm, need_im = r.requirement
    return {
        "rules": r.rules,
        "mark": r.mark,
        "maintenance": {"margin": r.maintenance, "requirement": need_mm},
        "initial": {"margin": r.initial, "requirement": need_im},
        "published": {"maintenance": published[0], "initial": published[1]} if published else None,
        "trusted": r.trusted,
        "liquidatable": r.maintenance < 0,
        "may_open": r.initial >= 0,
        "worst": r.worst or None,
        "factor": {"maintenance": r.factor[0], "initial": r.factor[1]},
        "marks": [_line(one) for one in r.marks],
        "requirements": [_line(one) for one in r.requirements],
        "scenarios": [_scan(one) for one in r.scans],
        "greeks": [{"of": one.of, "delta": one.delta, "gamma": one.gamma, "vega": one.vega} for one in r.greeks],
    }


def _scan(one: Scan) -> dict[str, Any]:
    pnl = [{"name": name, "pnl": profit} for name, profit in one.pnl]
    parts = one.parts._asdict() if one.parts else None
    return {"of": one.of, "worst": one.worst, "loss": one.loss, "components": parts, "pnl": pnl}


def _line(line: Line) -> dict[str, Any]:
    return {"what": line.what, "maintenance": line.mm, "initial": line.im}


def _listed(every: Sequence[Assessed]) -> str:
    names = ("case", "maintenance", "initial", "published maintenance", "published initial")
    return table(names, ([one.name, *_margins(one)] for one in every))


def _margins(one: Assessed) -> Iterator[str]:
    for margin in (one.result.maintenance, one.result.initial, *(one.published or ())):
        yield _usd(margin)


def _shown(assessed: Assessed) -> str:
    r = assessed.result
    state = "liquidatable" if r.maintenance < 0 else "no new risk" if r.initial < 0 else "healthy"
    factors = f"the loss counts {r.factor[0]:.6g} times, initially {r.factor[1]:.6g} times"
    title = f"{r.rules}: {state}; {factors}" if r.scans and r.factor != (1, 1) else f"{r.rules}: {state}"
    parts = [title, table(("", "maintenance", "initial"), _sum(assessed))]
    for one in r.scans:
        rows = [[name, _usd(pnl), "worst" if name == one.worst else ""] for name, pnl in one.pnl]
        parts.append(table((f"scenarios of {one.of}", "profit", ""), rows))
        if one.parts:
            rows = [[name, _usd(amount)] for name, amount in one.parts._asdict().items()]
            parts.append(table((f"loss of {one.of}", _usd(one.loss)), rows))
    if r.greeks:
        rows = [[one.of, f"{one.delta:,.6g}", f"{one.gamma:,.6g}", f"{one.vega:,.6g}"] for one in r.greeks]
        parts.append(table(("greeks", "delta", "gamma", "vega"), rows))
    return "\n\n".join(parts)


def _sum(one: Assessed) -> Iterator[Sequence[str]]:
    """The whole sum, so that it can be followed by hand."""
    r = one.result
    for line in r.marks:
        yield line.what, _usd(line.mm), _usd(line.im)
    yield "= mark to market", _usd(r.mark), _usd(r.mark)
    for line in r.requirements:
        yield line.what, _usd(line.mm), _usd(line.im)
    yield "= requirement", *(_usd(-need) for need in r.requirement)
    yield "margin", _usd(r.maintenance), _usd(r.initial)
    if one.published:
        yield "margin, as the file says", *map(_usd, one.published)
    if r.trusted is not None:
        yield "margin on the basis scenarios alone (trusted callers)", _usd(r.trusted), ""


def _usd(amount: float) -> str:
    return usd(wad(amount))
