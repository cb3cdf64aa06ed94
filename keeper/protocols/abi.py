"""Contracts by their ABI: call data, results, events and errors.

A thin layer over ``eth_abi`` for set-up, plans and reverts. Adapters cut the few events of the hot path out of log
data themselves (``words.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from keeper.model import Log


@dataclass(frozen=True)
class Entry:
    """One function, event or error."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    indexed: tuple[bool, ...]

    @cached_property
    def signature(self) -> str:
        return f"{self.name}({','.join(self.inputs)})"

    @cached_property
    def topic(self) -> bytes:
        return bytes(keccak(text=self.signature))

    @cached_property
    def selector(self) -> bytes:
        return self.topic[:4]


@dataclass(frozen=True)
class Contract:
    """One contract: its functions, events and errors by name, and its code, before and after creation."""

    name: str
    functions: Mapping[str, Entry]
    events: Mapping[str, Entry]
    errors: Mapping[str, Entry]
    bytecode: bytes
    runtime: bytes = b""  # what stands on chain, where it has no immutables

    def call(self, function: str, *args: Any) -> bytes:
        """Call data."""
        entry = self.functions[function]
        return entry.selector + encode(entry.inputs, args)

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]] | None:
        """(function, arguments by name) of call data; None when it is no whole call of one of these."""
        entry = next((f for f in self.functions.values() if f.name != "constructor" and f.selector == data[:4]), None)
        try:
            values = decode(entry.inputs, data[4:]) if entry else ()
        except (DecodingError, OverflowError, UnicodeDecodeError):
            return None
        return (entry.name, dict(zip(entry.names, values, strict=True))) if entry else None

    def result(self, function: str, data: bytes) -> Any:
        """What a call returned: the value alone when there is one, a tuple otherwise."""
        values = decode(self.functions[function].outputs, data)
        return values[0] if len(values) == 1 else values

    def creation(self, *args: Any) -> bytes:
        """Creation code with constructor arguments."""
        return self.bytecode + encode(self.functions["constructor"].inputs, args) if args else self.bytecode

    def event(self, name: str, log: Log) -> dict[str, Any]:
        """An event's arguments by name; indexed ones must be of a static type."""
        entry = self.events[name]
        plain = [t for t, indexed in zip(entry.inputs, entry.indexed, strict=True) if not indexed]
        data, topics = iter(decode(plain, log.data)), iter(log.topics[1:])
        return {
            arg: decode([kind], next(topics))[0] if indexed else next(data)
            for arg, kind, indexed in zip(entry.names, entry.inputs, entry.indexed, strict=True)
        }

    def error(self, data: bytes) -> tuple[str, tuple[Any, ...]] | None:
        """The custom error in revert data, if it is one of this contract's and whole."""
        entry = next((e for e in self.errors.values() if e.selector == data[:4]), None)
        try:
            return (entry.name, tuple(decode(entry.inputs, data[4:]))) if entry else None
        except (DecodingError, OverflowError, UnicodeDecodeError):
            return None


def parse(name: str, abi: Sequence[Mapping[str, Any]], bytecode: str = "", runtime: str = "") -> Contract:
    """A contract from the JSON of its compiler."""
    kinds: dict[str, dict[str, Entry]] = {"function": {}, "event": {}, "error": {}}
    for item in abi:
        kind = "function" if item["type"] == "constructor" else item["type"]
        if kind in kinds:
            entry = _entry(item)
            kinds[kind][entry.name] = entry
    return Contract(
        name, kinds["function"], kinds["event"], kinds["error"], bytes.fromhex(bytecode), bytes.fromhex(runtime)
    )


def _entry(item: Mapping[str, Any]) -> Entry:
    inputs: Sequence[Mapping[str, Any]] = item.get("inputs", ())
    return Entry(
        name=item.get("name", "constructor"),
        inputs=tuple(_type(i) for i in inputs),
        outputs=tuple(_type(o) for o in item.get("outputs", ())),
        names=tuple(i["name"] for i in inputs),
        indexed=tuple(bool(i.get("indexed")) for i in inputs),
    )


def _type(item: Mapping[str, Any]) -> str:
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(c) for c in item['components'])}){kind[5:]}"


@cache
def load(package: str) -> Mapping[str, Contract]:
    """All contracts of ``artifacts.json`` in a package."""
    built = json.loads(files(package).joinpath("artifacts.json").read_text())
    return {name: parse(name, c["abi"], c["bytecode"], c["runtime"]) for name, c in built["contracts"].items()}
