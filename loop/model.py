"""What every model of the campaign file is made of: frozen, strict about keys and about numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

JsonObject = dict[str, Any]
# Strict, for pydantic would otherwise read `true` as 1 and "3" as 3.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
PositiveInt = Annotated[int, Field(strict=True, gt=0)]


class Model(BaseModel):
    """Frozen, strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )
