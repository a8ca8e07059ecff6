"""Small pieces of the report for other pages, such as Prefect's artifacts: a table and a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from loop.ledger.ledger import Ledger
from loop.report.contents import HullDiagram
from loop.report.hulls import diagrams
from loop.report.view import View
from loop.report.wording import NOTHING, milli, space_group
from loop.state import CampaignState

LARGEST: Final = 100_000
"""Bytes of a picture: Prefect shows larger ones badly."""


def best_candidates(
    state: CampaignState,
    *,
    screening_fidelities: Sequence[str],
    verifying_fidelities: Sequence[str],
    limit: int = 20,
) -> list[dict[str, Any]]:
    """The best candidates as plain rows, by energy above hull (meV/atom) at the highest fidelity.

    Args:
        state: of the campaign.
        screening_fidelities: those of the screen's stages, first to last.
        verifying_fidelities: those of the verification levels that give energies, lowest first.
        limit: rows at most.
    """
    fidelities = [*screening_fidelities, *verifying_fidelities]
    found = []
    for id_, candidate in state.candidates.items():
        verdicts = [state.verdicts_in_force.get((id_, fidelity)) for fidelity in fidelities]
        judged = [v for v in verdicts if v is not None]
        if not judged or candidate.crystal_key is None:
            continue
        relaxed = state.calculations[judged[-1].calculation_key].result_crystal_key
        crystal = state.crystals[relaxed or candidate.crystal_key]
        stable = [
            v.dynamically_stable
            for (at, _), v in state.verifications.items()
            if at == id_ and v.dynamically_stable is not None
        ]
        row = {
            "candidate": id_,
            "formula": crystal.reduced_formula,
            "space group": f"{space_group(crystal.space_group_number)} ({crystal.space_group_number})",
            **{
                f"{f} (meV/atom)": milli(v.energy_above_hull) if v else NOTHING
                for f, v in zip(fidelities, verdicts, strict=True)
            },
            "dynamically stable": {None: NOTHING, True: "yes", False: "no"}[stable[-1] if stable else None],
            "generator": candidate.generator,
        }
        found.append(
            (verdicts[-1] is None, judged[-1].energy_above_hull, judged[-1].distance_to_references, id_, row)
        )
    return [row for *_, row in sorted(found, key=lambda item: item[:4])[:limit]]


def hull_png(ledger: Ledger, campaign_id: str) -> bytes | None:
    """The campaign's foremost hull at the screening and the verifying fidelity, as a PNG of at most 100 kB.

    Returns:
        The picture; None where no system of two or three elements can be drawn yet.

    Raises:
        LedgerError: no such campaign, or the ledger cannot be read.
    """
    view = View.of(CampaignState.rebuild(ledger, campaign_id), ledger.latest_spec(campaign_id))
    drawn = [d for d in diagrams(view)[0] if len(d.elements) in (2, 3)]
    if not drawn:
        return None
    pair = [d for d in drawn if d.elements == drawn[0].elements]
    for resolution in (110, 80, 60, 40):
        picture = _picture(pair, resolution=resolution)
        if len(picture) <= LARGEST:
            return picture
    return None


def _picture(pair: Sequence[HullDiagram], *, resolution: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from loop.report.picture import draw

    figure = Figure(figsize=(5.2 * len(pair), 4.4), layout="constrained", dpi=resolution)
    for index, diagram in enumerate(pair):
        draw(figure.add_subplot(1, len(pair), index + 1), diagram)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(
        file, pil_kwargs={"optimize": True}, metadata={"Software": "Motherlode"}
    )  # type: ignore[no-untyped-call]
    return file.getvalue()
