"""Options of a generator: what stands under `options:` in the campaign file, read into a frozen model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from loop.elements import closest
from loop.errors import GeneratorError
from loop.spec import Model

OptionsModel = TypeVar("OptionsModel", bound=Model)


def read_options(options: Mapping[str, Any], *, model: type[OptionsModel], generator: str) -> OptionsModel:
    """The options as `model`.

    Args:
        options: keys and values as the campaign file gives them.
        model: a subclass of `loop.spec.Model`, so frozen and strict about unknown keys.
        generator: registry name of the generator, for the message.

    Raises:
        GeneratorError: a key is unknown or a value is wrong; the message names
            `generators.<name>.options.<field>`.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        known = sorted(model.model_fields)
        problems = []
        for item in error.errors(include_url=False):
            field = ".".join(str(step) for step in item["loc"])
            where = f"generators.{generator}.options.{field}" if field else f"generators.{generator}.options"
            if item["type"] == "extra_forbidden":
                mend = (
                    f"did you mean {closest(field, known)!r}? The options are {', '.join(known)}"
                    if known
                    else "it takes none"
                )
                problems.append(f"{where}: unknown option; {mend}")
            else:
                message = item["msg"].removeprefix("Value error, ")
                problems.append(f"{where}: found {item['input']!r}; {message[:1].lower()}{message[1:]}")
        raise GeneratorError("\n".join(problems)) from None
