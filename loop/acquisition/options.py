"""Options of the policies: frozen models, read with errors that name the field in the campaign file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from loop.elements import closest
from loop.errors import CampaignFileError
from loop.spec import Model, NonNegative, Positive, PositiveInt

Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class NoOptions(Model):
    """Options of a policy that has none."""


class ModelOptions(Model):
    """Options of the model of the screen's error, which `residual` and `upper_confidence_bound` share."""

    prior_deviation: Positive = 0.05
    """Standard deviation of verified minus screened energy above hull before anything is verified, eV/atom. The
    default is about CHGNet's against the Materials Project's own energies (docs/acquisition.md)."""
    minimum_observations: PositiveInt = 8
    """Verified candidates from which on the Gaussian process may decide; before, the constant model does."""
    largest_residual: Positive = 0.3
    """Residuals beyond this (eV/atom) count as this much: one collapsed structure must not bend the whole model."""


class ResidualOptions(ModelOptions):
    """Options of `residual`."""

    worth_metastable: NonNegative = 1.0
    """Worth of verifying one metastable phase."""
    worth_stable: NonNegative = 1.0
    """Additional worth of a phase that is stable as well."""
    cost_exponent: Share = 1.0
    """Expected worth is divided by the declared cost to this power: 1 buys most per cost, 0 ignores cost."""
    pessimism: NonNegative = 0.5
    """Each member of a batch is chosen as if those before it had come out this many deviations worse than predicted;
    0 chooses each on its own merit."""


class ConfidenceOptions(ModelOptions):
    """Options of `upper_confidence_bound`."""

    beta: NonNegative = 1.0
    """Square of the number of deviations by which a candidate is given the benefit of the doubt."""


AnyModel = TypeVar("AnyModel", bound=Model)


def read_options(model: type[AnyModel], options: Mapping[str, Any], *, policy: str) -> AnyModel:
    """Validate a policy's options.

    Raises:
        CampaignFileError: naming the field under `acquisition.options`, what was found and what would be
        right.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = [_describe(problem, model, policy) for problem in error.errors()]
        raise CampaignFileError("; ".join(problems)) from error


def _describe(problem: Any, model: type[Model], policy: str) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"acquisition.options.{path}: {problem['msg']}; found {problem['input']!r}"
    known = sorted(model.model_fields)
    if not known:
        return f"acquisition.options.{path}: the policy {policy!r} has no options; remove it"
    return (
        f"acquisition.options.{path}: the policy {policy!r} has no such option; did you mean "
        f"{closest(path, known)!r}? It has {', '.join(known)}"
    )
