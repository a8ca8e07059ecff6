"""Options of a reference source, read into a frozen model; a mistake is named by its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from loop.campaign_problems import dotted, problems_of
from loop.errors import CampaignFileError
from loop.spec import Model

Options = TypeVar("Options", bound=Model)


def read_options(model: type[Options], options: Mapping[str, Any]) -> Options:
    """The options as the source's own model.

    Args:
        model: the source's model.
        options: `references.options` of the campaign file.

    Raises:
        CampaignFileError: an option is misspelt or impossible; the message names the key.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = problems_of(error, model=model, place=lambda _path: (1, 1))
        lines = [f"{dotted(('references', 'options', *p.path))}: {p.text}" for p in problems]
        raise CampaignFileError("\n".join(lines)) from error
