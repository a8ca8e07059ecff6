"""Tables as pandas data frames."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, Table, select
from sqlalchemy.engine import Connection


def frame(connection: Connection, table: Table) -> pd.DataFrame:
    """A table in order of its key, typed by its columns even where it is empty."""
    found = connection.execute(select(table).order_by(*table.primary_key.columns)).all()
    columns = list(zip(*found, strict=True)) or [()] * len(table.columns)
    return pd.DataFrame(
        {column.name: _series(column, values) for column, values in zip(table.columns, columns, strict=True)}
    )


def _series(column: Column[Any], values: Any) -> pd.Series[Any]:
    for kind, dtype in (
        (Boolean, "boolean" if column.nullable else "bool"),
        (Integer, "int64"),
        (Float, "float64"),
        (DateTime, "datetime64[us]"),
    ):
        if isinstance(column.type, kind):
            return pd.Series(values, dtype=dtype)
    return pd.Series(values, dtype=object)
