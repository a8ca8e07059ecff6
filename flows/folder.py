"""A campaign's folder and ledger: which campaign is in there, and whether this campaign file may go on in it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from loop.errors import CampaignFileError
from loop.ledger.ledger import Ledger
from loop.spec import CampaignSpec, as_json

REVISABLE: Final = ("budget", "stopping", "execution", "ledger", "known_phases")
"""Fields that a resumed campaign may change: none of them alters what was already computed or decided."""


def campaign_id(spec: CampaignSpec) -> str:
    """Name and hash of all in the campaign file that decides results."""
    science = {key: value for key, value in as_json(spec).items() if key not in REVISABLE}
    digest = hashlib.sha256(json.dumps(science, sort_keys=True).encode()).hexdigest()[:8]
    return f"{spec.name[:30]}-{digest}"


def ledger_url(spec: CampaignSpec, *, folder: Path) -> str:
    """The ledger's database URL."""
    return spec.ledger or f"sqlite:///{(folder / 'ledger.sqlite').resolve()}"


def public_spec(spec: CampaignSpec) -> dict[str, Any]:
    """The campaign file as the ledger keeps it: without the database's password."""
    from sqlalchemy import make_url

    plain = dict(as_json(spec))
    if spec.ledger:
        plain["ledger"] = make_url(spec.ledger).render_as_string(hide_password=True)
    return plain


def make_folder(folder: Path) -> None:
    """Make a campaign's folder where it does not exist.

    Raises:
        CampaignFileError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CampaignFileError(
            f"--folder {folder}: cannot be written ({error.strerror}); choose a folder that you may write"
        ) from error


def refuse_another_campaign(ledger: Ledger, spec: CampaignSpec, *, folder: Path) -> None:
    """One folder, one campaign.

    Raises:
        CampaignFileError: the folder holds another campaign; says which fields differ.
    """
    if spec.ledger:
        return  # a database server holds many campaigns
    others = {row.id: row for row in ledger.campaigns()}
    if not others or campaign_id(spec) in others:
        return
    ours, theirs = as_json(spec), next(iter(others.values())).spec
    changed = sorted(key for key in ours if key not in REVISABLE and ours[key] != theirs.get(key))
    raise CampaignFileError(
        f"{folder} holds another campaign: its file began with other values of {', '.join(changed)}. "
        f"Only {', '.join(REVISABLE)} may be changed; give the new campaign a folder of its own"
    )
