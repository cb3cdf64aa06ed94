from itertools import product
from pathlib import Path

import pytest

from keeper.model import TxState
from keeper.tx import machine
from keeper.tx.machine import TABLE, Event, Illegal, diagram, step

PAIRS = sorted(product(TxState, Event))


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TABLE])
def test_what_is_not_in_the_table_cannot_happen(state: TxState, event: Event) -> None:
    with pytest.raises(Illegal, match=f"{state} cannot be {event}"):
        step(state, event)


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in TABLE])
def test_the_table_is_what_happens(state: TxState, event: Event) -> None:
    assert step(state, event) is TABLE[state, event]


def test_every_state_can_be_reached_and_every_event_can_happen() -> None:
    assert set(TABLE.values()) | {TxState.INTENT} == set(TxState)
    assert {event for _, event in TABLE} == set(Event)


def test_no_path_leads_out_of_an_end() -> None:
    ends = {TxState.FINALIZED, TxState.ABANDONED, TxState.REPLACED}
    assert not [pair for pair in TABLE if pair[0] in ends]


def test_once_signed_an_intent_can_never_be_abandoned() -> None:
    reached = {TxState.SIGNED}
    while more := {then for (state, _), then in TABLE.items() if state in reached} - reached:
        reached |= more
    assert TxState.ABANDONED not in reached


def test_the_diagram_draws_each_row_once() -> None:
    lines = diagram().splitlines()
    for (state, event), then in TABLE.items():
        assert lines.count(f"    {state} --> {then}: {event}") == 1
    assert [line.strip() for line in lines if line.endswith("--> [*]")] == [
        "abandoned --> [*]",
        "cancelled --> [*]",
        "replaced --> [*]",
        "finalized --> [*]",
    ]


def test_the_drawing_in_the_readme_is_the_table() -> None:
    readme = (Path(machine.__file__).parent / "README.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in readme
