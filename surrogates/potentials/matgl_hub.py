"""matgl models by hub name: from the cache, from the hub, or a quick refusal where it is out of reach."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from loop.errors import PotentialError

MODEL_FILES: Final = ("model.pt", "state.pt", "model.json")
DEFAULT_OWNER: Final = "materialyze"
"""Owner of matgl's own models, for names without one."""
PROBE_SECONDS: Final = 5.0
"""Time the hub has to answer before a download is tried; the hub's client alone would retry for most of a
minute."""


def fetch_from_hub(name: str, *, looked_at: Path) -> Path:
    """Folder of a hub model's files, downloaded into matgl's cache unless they are there.

    Args:
        name: `owner/name`, or the bare name of one of matgl's own models.
        looked_at: the folder that does not exist, for the message.

    Raises:
        PotentialError: the name cannot be one of the hub's, the hub is not to be reached, or it has no such
            model.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository = name if "/" in name else f"{DEFAULT_OWNER}/{name}"
    cache = Path.home() / ".cache" / "matgl"
    wanted = f"potential 'matgl': model {name!r} is not a folder ({looked_at})"
    mend = (
        f"download {', '.join(MODEL_FILES)} of https://huggingface.co/{repository} where there is a network, "
        "and give the folder that holds them"
    )

    def files(*, local_files_only: bool) -> list[Path]:
        return [
            Path(hf_hub_download(repository, file, cache_dir=cache, local_files_only=local_files_only))
            for file in MODEL_FILES
        ]

    try:
        return files(local_files_only=True)[0].parent
    except HFValidationError as error:
        raise PotentialError(
            f"{wanted}, and not a hub name either ({error}); give a folder, `owner/name` or a model name"
        ) from error
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise PotentialError(f"{wanted}, and HF_HUB_OFFLINE forbids the hub; {mend}") from error
    if not _answers(constants.ENDPOINT):
        raise PotentialError(f"{wanted}, and the hub {constants.ENDPOINT} cannot be reached; {mend}")
    try:
        return files(local_files_only=False)[0].parent
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise PotentialError(
            f"{wanted}, and the hub gives no {repository} ({error}); check the name, or {mend}"
        ) from error


def _answers(endpoint: str) -> bool:
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 (the hub's own address, or the user's mirror)
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
