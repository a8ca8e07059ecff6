"""Values that mean the same in every database: what a row holds is what any reader will read back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import numpy as np
from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Integer, String

from loop.errors import LedgerError
from loop.ledger.tables import Row

_INTEGERS: Final = range(-(2**31), 2**31)
"""PostgreSQL's INTEGER; SQLite would take more."""

Convert = Callable[[Any], Any]


def portable(row: Row) -> dict[str, Any]:
    """The values of a row by column, as both databases keep them; the row itself is set to them.

    SQLite would store NaN as NULL and overlong text whole, where PostgreSQL keeps the one and refuses the
    other; tuples come back from JSON as lists. Settling this on entry makes the live row equal to the one
    that is read back.

    Raises:
        LedgerError: a value that no column can keep; the message names table, column and what was found.
    """
    values = {}
    for name, nullable, convert in _converters(type(row)):
        value = getattr(row, name)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            if not nullable:
                raise LedgerError(f"{row.__tablename__}.{name}: is None; every {row.__tablename__} needs it")
        else:
            try:
                value = convert(value)
            except (TypeError, ValueError) as error:
                raise LedgerError(f"{row.__tablename__}.{name}: {error}") from error
        if value is not getattr(row, name):
            setattr(row, name, value)
        values[name] = value
    return values


@cache
def _converters(row_class: type[Row]) -> tuple[tuple[str, bool, Convert], ...]:
    columns = Row.metadata.tables[row_class.__tablename__].columns
    return tuple((column.name, bool(column.nullable), _converter(column)) for column in columns)


def _converter(column: Column[Any]) -> Convert:
    for kind, convert in (
        (JSON, _json),
        (Boolean, _boolean),
        (Integer, _integer),
        (Float, _number),
        (DateTime, _moment),
    ):
        if isinstance(column.type, kind):
            return convert
    if isinstance(column.type, String):
        return _text_within(column.type.length, is_key=column.primary_key)
    raise TypeError(f"{column}: no conversion for columns of type {column.type}")


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_item))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"found what JSON cannot keep ({error}); give finite numbers, text, lists and objects, and make "
            "a computation that gave no number a failure"
        ) from error


def _item(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"found {value!r}; give true or false")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INTEGERS:
        raise TypeError(f"found {value!r}; give a whole number of at most 32 bits")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"found {value!r}; give a number")
    if math.isnan(value):
        raise ValueError("found NaN; a computation that gave no number is a failure, not a value")
    return float(value)


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"found {value!r}; give a datetime")
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _text_within(length: int | None, *, is_key: bool) -> Convert:
    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"found {value!r}; give text")
        # What a crashed program printed may hold NUL and broken characters, which PostgreSQL refuses.
        clean = value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        if is_key and clean != value:
            raise ValueError(f"found {value!r}; a key must be printable text")
        if length is not None and len(clean) > length:
            raise ValueError(f"found {len(clean)} characters ({clean[:40]!r}…); at most {length} fit")
        return clean

    return text
