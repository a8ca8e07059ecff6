"""`motherlode init` and `motherlode check`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.plan import Plan, plan_of
from loop.campaign_file import read_campaign
from loop.errors import CampaignFileError
from loop.spec import CampaignSpec, Space
from loop.spec_docs import commented_campaign_file, write_schema


def init(file: Path, *, system: str, force: bool) -> None:
    """Write a commented campaign file."""
    if file.exists() and not force:
        raise CampaignFileError(f"{file}: exists already; give another name, or --force to overwrite it")
    try:
        canonical = Space(chemical_systems=(system,)).chemical_systems[0]
    except ValueError as error:
        raise CampaignFileError(f"--system {system}: {_first_line(error)}") from error
    try:
        write_schema(file.parent)
        file.write_text(
            commented_campaign_file(name=canonical.lower(), space={"chemical_systems": [canonical]}),
            encoding="utf-8",
        )
    except OSError as error:
        raise CampaignFileError(
            f"{file}: cannot be written ({error.strerror}); choose a place that you may write"
        ) from error
    Console().print(
        f"Wrote {file}. Next: motherlode check {file}, then motherlode run {file}", soft_wrap=True
    )


def check(file: Path) -> None:
    """Validate a campaign file and print its plan."""
    spec = read_campaign(file)
    show(spec, plan_of(spec, base=file.resolve().parent))


def show(spec: CampaignSpec, plan: Plan) -> None:
    """Print a plan."""
    console, policy = Console(), spec.acquisition
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    systems = ", ".join("-".join(system) for system in plan.systems[:6]) + (
        f" and {len(plan.systems) - 6} more" if len(plan.systems) > 6 else ""
    )
    (low, high), (fewest, most) = spec.space.atoms, spec.space.number_of_elements
    table.add_row(
        "space",
        f"{systems}; {low} to {high} atoms, {fewest} to {most} elements",
    )
    table.add_row(
        "propose",
        f"{spec.batch.proposals} per iteration: "
        + ", ".join(f"{name} {n}" for name, n in plan.proposals.items()),
    )
    table.add_row(
        "screen", f"{plan.fidelity}, on a hull of {plan.reference_phases} reference phases relaxed by it"
    )
    for stage, level in zip(spec.screening.stages, plan.stages, strict=True):
        table.add_row(
            "screen again",
            f"{level.fidelity}, what the stage before puts within {stage.admits_within:g} eV/atom of its hull: about "
            f"{_amounts(level.each)} each",
        )
    table.add_row(
        "select",
        f"{policy.policy}, within {policy.window:g} eV/atom; audit {policy.audit_fraction:.0%}",
    )
    for level in plan.levels:
        table.add_row("verify", f"{level.name}: about {_amounts(level.each)} each")
    table.add_row(
        "declared cost", f"{_amounts(plan.once)} once for the reference phases (less what is cached)"
    )
    for level in (*plan.stages, *plan.levels):
        if level.references:
            table.add_row(
                "", f"{_amounts(level.references)} once at {level.name}, if all of them lie near its hull"
            )
    table.add_row("", f"{_amounts(plan.iteration)} per iteration at most")
    table.add_row("budget", _amounts(spec.budget))
    limit = min(spec.stopping.iterations, plan.affordable_iterations or spec.stopping.iterations)
    table.add_row("ends", f"after {limit} iterations at the latest")
    console.print(table)
    console.print(f"\n[green]{spec.name} is a valid campaign.[/green]")


def _amounts(cost: Mapping[str, float]) -> str:
    return ", ".join(f"{_number(amount)} {currency.replace('_', ' ')}" for currency, amount in cost.items())


def _number(amount: float) -> str:
    """Whole, or two digits where that would say too little."""
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.2g}"


def _first_line(error: ValueError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "Value error" in line]
    return lines[0].removeprefix("Value error, ").split(" [type=")[0] if lines else str(error)
