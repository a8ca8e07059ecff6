"""Reading the campaign file: YAML in, `CampaignSpec` out, every problem told with its line.

YAML's older words for booleans are not honoured: `No` in an element list is nobelium and `on` is a word.
Only `true` and `false` are booleans, `1e-3` is a number, `1:30` and `2026-11-23` are text (YAML 1.2's core
schema).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from loop.campaign_problems import Problem, problems_of
from loop.errors import CampaignFileError
from loop.spec import CampaignSpec

LARGEST_FILE: Final = 1_000_000
"""Bytes. A campaign file is a page of text; anything larger is another kind of file."""

Path_ = tuple[str | int, ...]
Marks = dict[Path_, tuple[int, int]]


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _decimal(loader: _Loader, node: ScalarNode) -> int:
    """Whole numbers are decimal: `010` is ten, not eight."""
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read_campaign(path: Path | str) -> CampaignSpec:
    """Read a campaign file.

    Args:
        path: a YAML file in UTF-8.

    Raises:
        CampaignFileError: the file is missing, unreadable, not YAML, or says something impossible. The
            message lists every problem, one line each, as `file:line:column: path: what is wrong; the mend`.
    """
    path = Path(path)
    return parse_campaign(_text(path), name=str(path))


def parse_campaign(text: str, *, name: str = "campaign file") -> CampaignSpec:
    """Read the text of a campaign file.

    Args:
        text: YAML.
        name: how messages call the file.

    Raises:
        CampaignFileError: as `read_campaign`.
    """
    data, marks, problems = _load(text, name=name)
    if problems:
        raise CampaignFileError(_message(problems, name=name))
    if data is None:
        raise CampaignFileError(f"{name}: the file is empty; `motherlode init` writes one to start from")
    if not isinstance(data, dict):
        raise CampaignFileError(
            f"{name}: the file holds {_kind(data)}, where a campaign file holds keys with values such as "
            "`name: my-campaign`"
        )
    try:
        return CampaignSpec.model_validate(data)
    except ValidationError as error:
        found = problems_of(error, model=CampaignSpec, place=lambda at: _nearest(marks, at))
        raise CampaignFileError(_message(found, name=name)) from None


def _text(path: Path) -> str:
    """The file's text, or the reason why there is none."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in {".yaml", ".yml"})
        hint = f"; it holds {', '.join(inside[:5])}" if inside else "; give the campaign file itself"
        raise CampaignFileError(f"{path}: this is a folder, not a campaign file{hint}")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise CampaignFileError(
            f"{path}: no such file; `motherlode init` writes a campaign file to start from"
        ) from None
    except OSError as error:
        raise CampaignFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(raw) > LARGEST_FILE:
        raise CampaignFileError(
            f"{path}: larger than {LARGEST_FILE:,} bytes; a campaign file is a page of YAML text"
        )
    if b"\0" in raw and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CampaignFileError(f"{path}: a binary file; a campaign file is YAML text in UTF-8")
    try:
        return raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CampaignFileError(
            f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8 text; save the file as UTF-8"
        ) from None


def _load(text: str, *, name: str) -> tuple[Any, Marks, list[Problem]]:
    """Values, the place (line, column from 1) of every path, and what is wrong with the YAML itself."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        marks: Marks = {}
        problems: list[Problem] = []
        if node is None:
            return None, marks, problems
        _walk(node, path=(), marks=marks, problems=problems, above=())
        return (None if problems else loader.construct_document(node)), marks, problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise CampaignFileError(f"{where}: not valid YAML: {_plain(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CampaignFileError(f"{name}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


_SLIPS: Final = (
    (r"\\t.* cannot start any token", "a tab is used for indentation; use spaces"),
    (
        r"mapping values are not allowed",
        "a `:` stands where no key can be; check the indentation, and quote text that contains `: `",
    ),
    (r"but found another document", "a second document begins here (`---`); a campaign file holds one"),
    (
        r"'<stream end>'|unexpected end of stream",
        "the file ends inside a bracket or a quoted text that is not closed",
    ),
    (
        r"could not determine a constructor for the tag '(?:tag:yaml.org,2002:)?(?P<tag>[^']*)'",
        "{tag!r} is a tag; a campaign file holds plain values only",
    ),
    (
        r"found undefined alias '(?P<alias>[^']*)'",
        "'*{alias}' is an alias to nothing; quote text that begins with `*`",
    ),
    (r"(?P<said>expected .*)", "{said}; check the indentation and the brackets"),
)
"""What PyYAML says of the slips that people make, and the mend."""


def _plain(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's complaint in plain words."""
    said = error.problem or error.context or str(error)
    for pattern, mend in _SLIPS:
        if match := re.search(pattern, said):
            return mend.format(**match.groupdict())
    return said


def _walk(node: Node, *, path: Path_, marks: Marks, problems: list[Problem], above: tuple[int, ...]) -> None:
    """Note where every value stands; find keys given twice, keys that are no text, aliases to themselves."""
    place = (node.start_mark.line + 1, node.start_mark.column + 1)
    marks.setdefault(path, place)
    if id(node) in above:
        problems.append(Problem(path=path, place=place, text="an alias refers to the value that contains it"))
        return
    above = (*above, id(node))
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, path=(*path, index), marks=marks, problems=problems, above=above)
    elif isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            where = (key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, ScalarNode) or not key.tag.endswith((":str", ":merge")):
                shown = f"key {key.value}: " if isinstance(key, ScalarNode) else ""
                problems.append(
                    Problem(
                        path=path,
                        place=where,
                        text=f"{shown}a key must be a word, in quotes where it looks like a number",
                    )
                )
                continue
            if key.value in seen:
                problems.append(
                    Problem(
                        path=path,
                        place=where,
                        text=f"key {key.value!r} is given twice (first on line {seen[key.value]}); keep one",
                    )
                )
            seen.setdefault(key.value, where[0])
            inside = path if key.tag.endswith(":merge") else (*path, key.value)
            if inside != path:
                marks[inside] = where
            _walk(value, path=inside, marks=marks, problems=problems, above=above)


def _nearest(marks: Marks, path: Path_) -> tuple[int, int]:
    """Where a path stands in the file, or the nearest path above it that does."""
    while path and path not in marks:
        path = path[:-1]
    return marks.get(path, (1, 1))


def _kind(value: Any) -> str:
    return {list: "a list", str: "plain text", int: "a number", float: "a number", bool: "true or false"}.get(
        type(value), "something else"
    )


def _message(problems: list[Problem], *, name: str) -> str:
    lines = [problem.line(name) for problem in sorted(problems, key=lambda p: p.place)]
    if len(lines) == 1:
        return lines[0]
    return f"{name}: {len(lines)} problems\n" + "\n".join(lines)
