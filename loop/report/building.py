"""Gathers a report from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import yaml

from loop.crystal import Crystal
from loop.early_rejection import audit_of
from loop.errors import ReferencePhaseError
from loop.known import KnownPhase, KnownPhases
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Campaign
from loop.metrics import ErrorStatistics, enrichment, screening_error, sun_counts
from loop.report import history
from loop.report.caveats import caveats
from loop.report.contents import Report, Step
from loop.report.findings import Known, findings
from loop.report.hulls import diagrams
from loop.report.structures import palette
from loop.report.view import View
from loop.report.wording import plural, words
from loop.spec import CampaignSpec, Space, as_json
from loop.state import CampaignState


def build(ledger: Ledger, campaign_id: str, *, folder: Path) -> Report:
    """All that the report says.

    Args:
        ledger: where the campaign is written.
        campaign_id: which one.
        folder: the folder that relative paths in the campaign file (`known_phases`) start from.

    Raises:
        LedgerError: no such campaign, or the ledger cannot be read.
    """
    spec = ledger.latest_spec(campaign_id)
    view = View.of(CampaignState.rebuild(ledger, campaign_id), spec)
    campaigns = cast("Iterable[Campaign]", view.state.held[Campaign].values())
    revisions = sorted(campaigns, key=lambda row: row.revision)
    known, complaint = _known(
        spec, [folder, *(Path(str(r.versions["base"])) for r in revisions if "base" in r.versions)]
    )
    rows = findings(view, known=known)
    hulls, left_out = diagrams(view)
    counts = history.counted(view)
    errors = _errors(view)
    stop = [stage for (_, name), stage in sorted(view.state.stages.items()) if name == "stop"]
    moments = sorted(stage.finished_at for stage in view.state.stages.values())
    sources = [s.source for s in view.state.reference_sets.values() if s.fidelity == view.screening]
    said = caveats(
        screening=view.screenings,
        verifying=view.fidelities,
        phonon_levels=view.phonon_levels,
        reference_source=spec.references.source,
        reference_phases=max((s.number_of_phases for s in view.state.reference_sets.values()), default=0),
        known_phases=len(spec.known_phases),
        metastable=spec.thresholds.metastable,
    )
    return Report(
        name=spec.name,
        campaign_id=campaign_id,
        searched=_searched(spec.space),
        state="finished" if stop else "running",
        reason=str(stop[-1].summary.get("reason", "")) if stop else None,
        iterations=history.iterations(view),
        began=revisions[0].created_at if revisions else None,
        latest=moments[-1] if moments else None,
        seconds=history.seconds(view),
        screening_fidelities=view.screenings,
        verifying_fidelities=view.fidelities,
        stable=spec.thresholds.stable,
        metastable=spec.thresholds.metastable,
        phonon_tolerance=spec.thresholds.phonon_frequency,
        steps=_steps(view, counts),
        findings=rows,
        findings_in_all=len(
            {v.candidate_id for v in view.verified} | {id_ for id_, _ in view.state.verdicts_in_force}
        ),
        hulls=hulls,
        hulls_left_out=left_out,
        curve=history.curve(view),
        parity=history.parity(view),
        errors=errors.pop(view.screenings[-1], None),
        earlier_errors=tuple(errors.items()),
        sun=sun_counts(view.verified, spec.thresholds) if view.verified else None,
        enrichment=enrichment(view.verified, threshold=spec.thresholds.metastable) if view.verified else None,
        decisions=history.decisions(view),
        turns=history.turns(view),
        models=history.models(view),
        generators=history.generators(view),
        costs=history.costs(view),
        failures=history.failures(view),
        rejections=history.rejections(view),
        early_rejection=audit_of(view.state),
        hull_moves=history.hull_moves(view),
        provenance=_provenance(view, campaign_id, revisions=revisions, sources=sources),
        spec=yaml.safe_dump(dict(as_json(spec)), sort_keys=False, allow_unicode=True, width=110),
        caveats=(*said, *([complaint] if complaint else [])),
        known_phases_given=len(spec.known_phases),
        palette=palette(symbol for row in rows if row.scene for symbol in row.scene["elements"]),
    )


def _known(spec: CampaignSpec, folders: Sequence[Path]) -> tuple[Known, str | None]:
    """What looks a crystal up among the known phases, and what to say where they cannot be read."""
    reasons = []
    for folder in dict.fromkeys(folders):
        try:
            return KnownPhases.load(spec.known_phases, base=folder).nearest, None
        except ReferencePhaseError as error:
            reasons.append(str(error))
    return (
        _nothing_known,
        f"The known phases could not be read here, so finds carry only the names recorded with them: {reasons[0]}",
    )


def _nothing_known(_crystal: Crystal) -> KnownPhase | None:
    return None


def _searched(space: Space) -> str:
    """What the campaign looks for, in a sentence."""
    systems = space.systems()
    low, high = space.number_of_elements
    if space.chemical_systems:
        where = ", ".join("-".join(system) for system in systems)
    else:
        where = f"{plural(len(systems), 'chemical system')} of {', '.join(space.all_elements())}"
    size = f"{low} to {high} elements" if low != high else plural(low, "element")
    required = f", with {', '.join(space.required_elements)}" if space.required_elements else ""
    smallest, largest = space.atoms
    return f"{where}: crystals of {size} and {smallest} to {largest} atoms in the primitive cell{required}"


def _steps(view: View, counts: dict[str, int]) -> tuple[Step, ...]:
    """The way from proposal to discovery, each step with the fidelity that decides it."""
    window = f"≤ {1000 * view.spec.thresholds.metastable:g} meV/atom"
    deciding = view.fidelities[-1] if view.fidelities else view.spec.verification[0].name
    phonons = ", no imaginary phonons where asked" if view.phonon_levels else ""
    return (
        Step(
            label="proposed",
            count=counts["proposed"],
            note=f"by {plural(len(view.spec.generators), 'generator')}",
        ),
        Step(label="kept", count=counts["kept"], note="new, valid crystals inside the space"),
        Step(label="relaxed", count=counts["relaxed"], note=f"with {view.screening}"),
        Step(
            label="(meta)stable",
            count=counts["screened_metastable"],
            note=f"screened {window} at {view.screening}",
        ),
        *(
            Step(
                label="(meta)stable again",
                count=counts[f"screened_metastable at {fidelity}"],
                note=f"{window} at {fidelity}, of {counts[f'screened at {fidelity}']} screened again",
            )
            for fidelity in view.screenings[1:]
        ),
        Step(label="verified", count=counts["verified"], note=f"at {deciding}"),
        Step(
            label="discoveries",
            count=counts["discoveries"],
            note=f"(meta)stable at {deciding}, unique, novel{phonons}",
        ),
    )


def _errors(view: View) -> dict[str, ErrorStatistics]:
    """How far each stage of the screen was off, by fidelity, over the verified candidates that the last one judged."""
    found = {}
    verified = [v for v in view.verified if v.screened_at == view.screenings[-1]]
    for fidelity in view.screenings:
        verdicts = [(v, view.state.verdicts_in_force[v.candidate_id, fidelity]) for v in verified]
        error = screening_error(replace(v, screened=verdict.energy_above_hull) for v, verdict in verdicts)
        if error is not None:
            found[fidelity] = error
    return found


def _provenance(
    view: View, campaign_id: str, *, revisions: list[Campaign], sources: list[dict[str, object]]
) -> tuple[tuple[str, str], ...]:
    """What decides the results, for whoever wants to repeat them."""
    state = view.state
    lines = [("campaign", campaign_id), ("seed", str(view.spec.seed))]
    if len(revisions) > 1:
        lines.append(("revisions of the campaign file", str(len(revisions))))
    lines += [("reference source", _plainly(source)) for source in sources[:1]]
    for fidelity in (*view.screenings, *view.fidelities):
        sets = [s for s in state.reference_sets.values() if s.fidelity == fidelity]
        if sets:
            current = max(sets, key=lambda s: (s.iteration, s.number_of_phases))
            lines.append(
                (f"reference phases at {fidelity}", f"{current.number_of_phases}, version {current.version}")
            )
        if history_ := state.hulls.get(fidelity):
            number = max(history_)
            lines.append((f"hull at {fidelity}", f"number {number}, version {history_[number].version}"))
    codes = sorted({(c.fidelity, c.code_version) for c in state.calculations.values()})
    lines += [(f"code of {fidelity}", code) for fidelity, code in codes]
    made = sorted({(c.generator, c.generator_version) for c in state.candidates.values()})
    lines += [(f"generator {words(name)}", f"version {version}") for name, version in made]
    versions = revisions[-1].versions if revisions else {}
    lines += [
        (str(name), str(version))
        for name, version in versions.items()
        if version != "not installed" and name != "base"
    ]
    return tuple(lines)


def _plainly(source: dict[str, object]) -> str:
    return ", ".join(f"{words(str(key))} {value}" for key, value in source.items())
