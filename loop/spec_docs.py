"""What is written about the campaign file, generated from its models: page, JSON Schema, starting file.

`python -m loop.spec_docs` rewrites `docs/campaign-file.md` and `docs/campaign.schema.json`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from loop.campaign_problems import model_within
from loop.spec import CampaignSpec

SCHEMA_FILE: Final = "campaign.schema.json"
DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
WIDTH: Final = 100

INTRODUCTION: Final = f"""\
# The campaign file

<!-- Generated from loop/spec.py by `python -m loop.spec_docs`. -->

One YAML file says what a campaign looks for, with what, and for how much. Only `name` and `space` must be
given; everything else has a default that works. Unknown keys are refused, and `motherlode check` lists
every problem with its line before anything runs.

The smallest campaign file:

```yaml
name: nickel-tin-titanium
space:
  chemical_systems: [Ni-Sn-Ti]
```

`motherlode init` writes a commented file to start from. Editors with the YAML language server complete and
check it through the schema [`{SCHEMA_FILE}`]({SCHEMA_FILE}), named in the file's first line.

Words are YAML 1.2's: only `true` and `false` are booleans, so `No` in an element list is nobelium. Energies
are in eV/atom, lengths in Å, forces in eV/Å, stresses in GPa, phonon frequencies in THz, times in seconds.
"""

START: Final[Mapping[str, Any]] = {
    "name": "my-campaign",
    "space": {"chemical_systems": ["Ni-Sn-Ti"], "number_of_elements": [2, 3]},
}
"""What the starting file says where nothing is asked for: intermetallics with known ternary phases."""

SHOWN: Final = frozenset(
    {
        "name",
        "space",
        "generators",
        "potential",
        "references",
        "verification",
        "budget",
        "stopping",
        "batch",
        "seed",
    }
)
"""Sections that the starting file spells out; the others stand in it as comments, at their defaults."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the campaign file, from which editors complete and check it."""
    schema = CampaignSpec.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Motherlode campaign file",
    }


def campaign_file_page() -> str:
    """The reference page of the campaign file, in Markdown: every field with type, default and meaning."""
    sections = [_section(model, path) for path, model in _models(CampaignSpec, "")]
    return "\n".join([INTRODUCTION, *sections]).rstrip() + "\n"


def _models(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model with the path at which it stands first, depth first, each once."""
    seen: set[type[BaseModel]] = set()
    stack = [(path, model)]
    while stack:
        at, current = stack.pop(0)
        if current in seen:
            continue
        seen.add(current)
        yield at, current
        inner = [
            (f"{at}.{name}".lstrip(".") + ("[]" if get_origin(field.annotation) is tuple else ""), nested)
            for name, field in current.model_fields.items()
            if (nested := model_within(field.annotation))
        ]
        stack = inner + stack


def _section(model: type[BaseModel], path: str) -> str:
    title = f"## `{path}`\n" if path else "## Top level\n"
    about = " ".join((model.__doc__ or "").split())
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        nested = model_within(field.annotation)
        kind = (
            _type(field.annotation)
            + _limits(field)
            + (", or null" if type(None) in get_args(field.annotation) else "")
        )
        if nested:
            kind = kind.replace("{…}", f"[{{…}}](#{_anchor(_where(nested))})")
        rows.append(f"| `{name}` | {kind} | {_default(field, nested)} | {_one_line(field.description)} |")
    return f"{title}\n{about}\n\n" + "\n".join(rows) + "\n"


def _where(model: type[BaseModel]) -> str:
    return next(path for path, found in _models(CampaignSpec, "") if found is model)


def _anchor(path: str) -> str:
    """GitHub's anchor of a heading: letters, digits, hyphens and underscores stay."""
    return "".join(c for c in path.lower() if c.isalnum() or c in "-_")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _type(annotation: Any) -> str:
    """A type in the reader's words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        text = "one of " + ", ".join(f"`{value}`" for value in arguments)
    elif origin is tuple and Ellipsis in arguments:
        text = f"list of {_type(arguments[0])}"
    elif origin is tuple:
        text = f"[{', '.join(map(_type, arguments))}]"
    elif origin is dict:
        text = "keys with values" if arguments[1] is Any else f"keys with {_type(arguments[1])}s"
    elif hasattr(annotation, "__metadata__"):
        text = _type(arguments[0])
    elif origin is not None:
        text = " or ".join(_type(inner) for inner in arguments if inner is not type(None))
    elif issubclass(annotation, BaseModel):
        text = "{…}"
    else:
        text = {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]
    return text


def _limits(field: FieldInfo) -> str:
    """The bounds of a number, e.g. `, > 0`."""
    texts = []
    for item in [
        *field.metadata,
        *(m for a in get_args(field.annotation) for m in getattr(a, "__metadata__", ())),
    ]:
        metadata = getattr(item, "metadata", None) or [item]
        for bound in metadata:
            for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
                if getattr(bound, attribute, None) is not None:
                    value = getattr(bound, attribute)
                    texts.append(f"{sign} {'2⁶³' if value == 2**63 else f'{value:g}'}")
    return "".join(f", {text}" for text in dict.fromkeys(texts))


def _default(field: FieldInfo, nested: type[BaseModel] | None) -> str:
    if field.is_required():
        return "**must be given**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "`null`"
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, tuple) and nested and value:
        return ", ".join(
            f"`{getattr(item, 'name', None) or getattr(item, 'property', '')}`" for item in value
        )
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(
        as_plain(value), default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()


def as_plain(value: Any) -> Any:
    """Models and tuples as what YAML knows: mappings without what stands at its default, lists, scalars."""
    if isinstance(value, BaseModel):
        changed = {
            k: v for k, v in value if v != type(value).model_fields[k].get_default(call_default_factory=True)
        }
        return {k: as_plain(v) for k, v in (changed or {k: v for k, v in value if v is not None}).items()}
    if isinstance(value, (tuple, list)):
        return [as_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: as_plain(v) for k, v in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def commented_campaign_file(*, schema: str | None = SCHEMA_FILE, **overrides: Any) -> str:
    """The commented campaign file that `motherlode init` writes.

    Sections that a first campaign wants to see are spelled out; the other settings stand beside them as
    comments (`#key: value`), at their defaults: take the `#` away to change one.

    Args:
        schema: where the editor finds the JSON Schema, relative to the file or a URL; None leaves it out.
        **overrides: top-level settings in place of the starting ones, e.g. `name="lithium"`,
            `space={"elements": ["Li", "O"]}`.

    Raises:
        pydantic.ValidationError: the overrides make no valid campaign.
    """
    spec = CampaignSpec.model_validate({**START, **overrides})
    lines = [f"# yaml-language-server: $schema={schema}"] if schema else []
    lines += [
        "# A Motherlode campaign. `motherlode check` tells what it would do and cost;",
        "# docs/campaign-file.md explains every key.",
    ]
    for name, field in CampaignSpec.model_fields.items():
        value = getattr(spec, name)
        lines += ["", *_comment(field.description, "")]
        lines += _entry(name, value, indent="", active=name in SHOWN or name in overrides)
    return "\n".join(lines) + "\n"


def _comment(text: str | None, indent: str) -> list[str]:
    return [
        f"{indent}# {line}"
        for line in textwrap.wrap(_one_line(text).replace("\\|", "|"), WIDTH - len(indent) - 2)
    ]


def _entry(name: str, value: Any, *, indent: str, active: bool) -> list[str]:
    """A key with its value; a nested model's keys below it, each with its own comment."""
    mark = "" if active else "#"
    if isinstance(value, BaseModel):
        lines = [f"{indent}{mark}{name}:"]
        for key, field in type(value).model_fields.items():
            inner = getattr(value, key)
            lines += _comment(field.description, indent + "  ")
            shown = active and inner not in (None, (), {})
            lines += _entry(key, inner, indent=indent + "  ", active=shown)
        return lines
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return [f"{indent}{mark}{name}:"] + [f"{indent}  {mark}- {_flow(item)}" for item in value]
    text = "" if value is None else f" {_flow(value)}"
    return [f"{indent}{mark}{name}:{text}"]


def write_schema(folder: Path) -> Path:
    """Write the JSON Schema into a folder, beside the campaign file whose first line names it."""
    path = folder / SCHEMA_FILE
    path.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_docs(folder: Path = DOCS) -> None:
    """Write the page and the schema into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign-file.md").write_text(campaign_file_page(), encoding="utf-8")
    write_schema(folder)


if __name__ == "__main__":
    write_docs()
