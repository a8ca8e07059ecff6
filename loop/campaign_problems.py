"""What is wrong with a campaign file, in words: pydantic's errors turned into sentences with a mend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the campaign file."""

    path: Location
    """Keys and list positions from the top of the file."""
    place: tuple[int, int]
    """Line and column, from 1."""
    text: str

    def line(self, name: str) -> str:
        """As `file:line:column: path: text`, the form that editors make clickable."""
        where = f"{name}:{self.place[0]}:{self.place[1]}: "
        return where + (f"{dotted(self.path)}: {self.text}" if self.path else self.text)


def dotted(path: Location) -> str:
    """A path as a person writes it: `generators[1].weight`, list positions from 0."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def problems_of(
    error: ValidationError, *, model: type[BaseModel], place: Callable[[Location], tuple[int, int]]
) -> list[Problem]:
    """Every complaint of pydantic as a `Problem`.

    Args:
        error: raised by `model.model_validate`.
        model: the model at the top of the file.
        place: gives the line and column of a path.
    """
    found: dict[tuple[Location, str], Problem] = {}
    for item in error.errors(include_url=False):
        at, text = _explained(tuple(item["loc"]), item, model=model)
        longest = max(at, tuple(item["loc"]), key=len)
        found.setdefault((at, text), Problem(path=at, place=place(longest), text=text))
    return list(found.values())


def _explained(at: Location, item: Any, *, model: type[BaseModel]) -> tuple[Location, str]:
    """The path that a message speaks of, and the message."""
    kind, found, limits = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        inside = _model_at(at[:-1], model)
        return at[:-1], _unknown_key(str(at[-1]), sorted(inside.model_fields) if inside else [])
    if kind == "missing" and not isinstance(at[-1], int):
        return at[:-1], f"{str(at[-1])!r} is missing; {_meaning(at, model)}"
    if kind == "value_error":
        return _own_words(at, str(limits["error"]), model=model)
    if kind == "missing":
        at, expected = at[:-1], "expected two numbers, smallest and largest, e.g. [2, 3]"
    elif kind == "tuple_type" and isinstance(found, str):
        expected = f"expected a list; write [{found}]"
    elif kind == "string_type" and isinstance(found, (bool, int, float)):
        expected = f'expected text; put it in quotes: "{_yaml(found)}"'
    elif kind in _WORDS:
        expected = f"expected {_WORDS[kind].format(**limits)}"
    else:
        expected = item["msg"]
    return at, f"found {_shown(found)}, {expected}"


_WORDS: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "lower-case letters, digits and hyphens, at most 63, the first no hyphen",
    "too_long": "{max_length} values",
    "too_short": "{min_length} values",
}


def _unknown_key(key: str, known: list[str]) -> str:
    if not known:
        return f"unknown key {key!r}"
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    return f"unknown key {key!r}; " + (
        f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(known)}"
    )


def _own_words(at: Location, text: str, *, model: type[BaseModel]) -> tuple[Location, str]:
    """A validator's own sentence; a field that it names first joins the path."""
    if match := re.match(r"(\w+): ", text):
        word, rest = match[1], text[match.end() :]
        if at and at[-1] == word:
            return at, rest
        inside = _model_at(at, model)
        if inside and word in inside.model_fields:
            return (*at, word), rest
    return at, text


def _meaning(at: Location, model: type[BaseModel]) -> str:
    """What a missing field is for: the first sentence of its description."""
    inside = _model_at(at[:-1], model)
    description = inside.model_fields[str(at[-1])].description if inside else None
    text = " ".join((description or "what is needed").split())
    sentence = re.split(r"(?<!e\.g)\.(?= |$)", text)[0]
    return f"it says {sentence[:1].lower()}{sentence[1:]}"


def _model_at(at: Location, model: type[BaseModel]) -> type[BaseModel] | None:
    """The model whose fields stand at a path, if there is one."""
    current: type[BaseModel] | None = model
    for step in at:
        if isinstance(step, int):
            continue
        if current is None or step not in current.model_fields:
            return None
        current = model_within(current.model_fields[step].annotation)
    return current


def model_within(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `tuple[GeneratorSpec, ...]` or `PotentialSpec | None`."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    for inner in get_args(annotation):
        if inner is not Ellipsis and (found := model_within(inner)):
            return found
    return None


def _yaml(value: Any) -> str:
    """A scalar as it stands in YAML."""
    return (
        {True: "true", False: "false", None: "nothing"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _shown(value: Any) -> str:
    """A value as the reader typed it, shortened."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(_shown(v) for v in value) + "]"
    else:
        text = _yaml(value)
    return text if len(text) <= 60 else text[:57] + "…"
