"""Options of a protocol or of a strategy, as the dataclass that its code wants: ``settings.bind(Dutch, …)``.

A field has a unit as its type, ``reserve: Money = 0`` (``keeper.units``), and the operator writes it like this:

    money     "$25"                    US dollars, wad        count    3                itself, not negative
    coin      "1 gwei"                 wei                    address  "0x5290…9EE7"    20 bytes
    share     "2 %" "50 bps" "0.02"    wad                    account  "0x5290…9EE7/3"  owner | number << 160, or
    bps       "50 bps" "0.5 %"         bps                             "0x…"            the whole as it is
    duration  "250ms" "12s"            milliseconds
    seconds   "12s" "5m"               seconds

Without a unit the type decides: an int is a whole number, bytes are an address, an Enum is one of its values. Tuples,
mappings and dataclasses are lists and tables of such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

from keeper.settings.located import Problem, did_you_mean, dotted
from keeper.settings.positions import Keys
from keeper.settings.quantities import BPS, COIN, DURATION, MONEY, SHARE
from keeper.settings.sources import Sources
from keeper.units import wad

T = TypeVar("T")
NOWHERE: Final = Sources()


def bind(cls: type[T], table: Mapping[str, Any], keys: Keys = (), sources: Sources = NOWHERE) -> T:
    """A dataclass from the table at ``keys`` of ``sources``. Raises Unusable with every problem at its place."""
    binding = _Binding(sources)
    made: T = binding.build(cls, table, keys)
    if binding.problems:
        raise sources.refuse(binding.problems)
    return made


class _Binding:
    def __init__(self, sources: Sources) -> None:
        self.problems: list[Problem] = []
        self._sources = sources

    def build(self, cls: Any, table: Mapping[str, Any], keys: Keys) -> Any:
        """None when there are problems, here or elsewhere."""
        known = {one.name: one for one in fields(cls) if one.init}
        kinds = get_type_hints(cls, include_extras=True)
        self._names(known, table, keys)
        given = [one for name, one in known.items() if name in table]
        values = {one.name: self._read(kinds[one.name], table[one.name], (*keys, one.name)) for one in given}
        try:
            return None if self.problems else cls(**values)
        except ValueError as error:  # from its own __post_init__
            return self._add("KC103", f"[{dotted(keys)}] {error}", keys)

    def _names(self, known: Mapping[str, Field[Any]], table: Mapping[str, Any], keys: Keys) -> None:
        """A name that is needed, and there, but misspelt, is one mistake and not two."""
        strangers = [name for name in table if name not in known]
        for name in strangers:
            what = f'unknown key "{name}" in [{dotted(keys)}]'
            help = f"known here: {', '.join(sorted(known))}"
            self._add("KC102", what, (*keys, name), hint=did_you_mean(name, known), help=help)
        for name, one in known.items():
            needed = one.default is MISSING and one.default_factory is MISSING
            if needed and name not in table and not did_you_mean(name, strangers):
                self._add("KC104", f'[{dotted(keys)}] needs "{name}"', keys)

    def _read(self, kind: Any, written: Any, keys: Keys) -> Any:
        try:
            return self._value(kind, written, keys)
        except ValueError as error:
            return self._add("KC103", f"{dotted(keys)} {error}", keys, value=True)

    def _value(self, kind: Any, written: Any, keys: Keys) -> Any:
        parts, origin = get_args(kind), get_origin(kind)
        if is_dataclass(kind):
            return self.build(kind, _table(written), keys)
        if origin is tuple:
            return tuple(self._read(parts[0], one, (*keys, index)) for index, one in enumerate(_list(written)))
        if origin in (dict, Mapping):
            items = [(name, one, (*keys, name)) for name, one in _table(written).items()]
            return {self._read(parts[0], name, at): self._read(parts[1], one, at) for name, one, at in items}
        return _reader(kind)(written)

    def _add(self, code: str, what: str, keys: Keys, *, value: bool = False, hint: str = "", help: str = "") -> None:
        self.problems.append(Problem(code, what, self._sources.place(keys, value=value), hint, help))


# ─── values: what was written into what is meant; ValueError says what was expected ───────────────


def _reader(kind: Any) -> Callable[[Any], Any]:
    unit = kind.__metadata__[0] if get_origin(kind) is Annotated else ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(kind)
    reader = UNITS.get(unit) if unit else TYPES.get(kind)
    if reader is None:
        raise TypeError(f"a field of type {kind} with unit {unit!r} cannot be configured; units: {', '.join(UNITS)}")
    return reader


def _member(kind: type[Enum]) -> Callable[[Any], Enum]:
    values = {one.value: one for one in kind}

    def read(written: Any) -> Enum:
        if written not in list(values):
            raise ValueError(f"must be one of {', '.join(map(repr, values))}".replace("'", '"'))
        return values[written]

    return read


def _of_type(kind: type, wanted: str) -> Callable[[Any], Any]:
    def read(written: Any) -> Any:
        if type(written) is not kind:  # isinstance would take true for a number
            raise ValueError(wanted)
        return written

    return read


_whole = _of_type(int, "needs a whole number")
_text = _of_type(str, "needs text in quotes")
_list = _of_type(list, "needs a list in brackets")
_table = _of_type(dict, "needs a table")


def _count(written: Any) -> int:
    if _whole(written) < 0:
        raise ValueError("must not be negative")
    return int(written)


def _share(written: Any) -> int:
    """Decimals of one are shares too; whole numbers are not, because nobody can tell 2 from 2 % from 2 wad."""
    if isinstance(written, str) and re.fullmatch(r"\d{1,3}\.\d{1,18}", written, re.ASCII):
        return wad(written)
    return SHARE.parse(written)


def _seconds(written: Any) -> int:
    seconds, rest = divmod(DURATION.parse(written), 1000)
    if rest:
        raise ValueError("must be whole seconds")
    return seconds


def _address(written: Any) -> bytes:
    """20 bytes. Where capitals are mixed, they are a checksum (EIP-55) and must be right."""
    if not isinstance(written, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", written):
        raise ValueError('needs an address in quotes: "0x" and 40 hexadecimal digits')
    digits = written[2:]
    if digits not in (digits.lower(), digits.upper(), _checksummed(digits.lower())):
        raise ValueError("has a wrong checksum: a digit or the case of a letter is not as it should be")
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    from eth_hash.auto import keccak

    return "".join(
        one.upper() if by > "7" else one for one, by in zip(digits, keccak(digits.encode()).hex(), strict=False)
    )


def _account(written: Any) -> int:
    """Owner and number of a sub-account, as the clearing house packs them, or the packed number itself."""
    owner, slash, number = _text(written).partition("/")
    if slash and re.fullmatch(r"\d{1,28}", number, re.ASCII):
        return int.from_bytes(_address(owner)) | int(number) << 160
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,64}", written):
        raise ValueError('needs an account in quotes: "0x…/3", its owner and its number')
    return int.from_bytes(_address(written)) if len(written) == 42 else int(written, 16)


UNITS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "money": MONEY.parse,
    "coin": COIN.parse,
    "share": _share,
    "bps": BPS.parse,
    "duration": DURATION.parse,
    "seconds": _seconds,
    "count": _count,
    "address": _address,
    "account": _account,
}
TYPES: Final[Mapping[Any, Callable[[Any], Any]]] = {
    int: _whole,
    str: _text,
    bool: _of_type(bool, "needs true or false"),
    bytes: _address,
}
