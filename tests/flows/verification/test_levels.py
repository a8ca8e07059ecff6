"""Levels of the campaign file: what is understood, and what is said of what is not."""

import pytest

from flows.verification.dispatch import LocalDispatcher
from flows.verification.options import PhononOptions, PotentialOptions
from flows.verification.registry import VERIFIERS, load_verifier
from loop.errors import VerificationError
from loop.spec import CampaignSpec, RelaxationSpec, Space, Thresholds


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "potential",
            {"max_forse": 0.1},
            r"verification\.emt-potential\.options\.max_forse: unknown .* 'max_force'",
        ),
        (
            "potential",
            {"max_force": -0.1},
            r"options\.max_force: found -0\.1; input should be greater than 0",
        ),
        ("potential", {"max_steps": 3.5}, r"options\.max_steps: found 3\.5"),
        ("potential", {"fix_symmetry": "maybe"}, r"options\.fix_symmetry: found 'maybe'"),
        ("phonons", {"min_length": 0}, r"verification\.emt-phonons\.options\.min_length: found 0"),
        ("phonons", {"min_length": float("nan")}, r"options\.min_length: found nan"),
        ("phonons", {"gamma_radius": -1}, r"options\.gamma_radius: found -1"),
        ("phonons", {"temperatures": [300, -3]}, r"options\.temperatures\.1: found -3"),
        ("phonons", {"fix_symmetry": True}, r"options\.fix_symmetry: unknown option"),
    ],
)
def test_option_that_makes_no_sense_is_named(verifier, kind, options, message):
    with pytest.raises(VerificationError, match=message):
        verifier(kind, options=options)


def test_every_problem_is_named_at_once(verifier):
    with pytest.raises(VerificationError) as caught:
        verifier("phonons", options={"min_length": -1, "displacement": "far"})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("kind", ["potential", "phonons"])
def test_level_without_a_potential_is_refused(verifier, kind):
    with pytest.raises(VerificationError, match=rf"verification\.emt-{kind}\.potential: missing"):
        verifier(kind, potential=None)


def test_unregistered_verifier_is_refused_with_the_nearest_name(verifier):
    with pytest.raises(VerificationError, match=r"verification\.emt-phonon\.verifier: 'phonon' .* 'phonons'"):
        verifier("phonon")


def test_default_levels_of_a_campaign_can_be_made(tmp_path):
    spec = CampaignSpec(name="default", space=Space(chemical_systems=("Ni-Sn-Ti",)))
    verifiers = [
        load_verifier(
            level,
            thresholds=spec.thresholds,
            relaxation=spec.relaxation,
            folder=tmp_path,
            dispatcher=LocalDispatcher(),
            base=tmp_path,
        )
        for level in spec.verification
    ]
    assert [v.gives_energy for v in verifiers] == [True, False]
    assert [v.fidelity for v in verifiers] == [level.name for level in spec.verification]


def test_relaxation_of_the_campaign_is_the_default_of_energies_alone(verifier):
    """Phonons need forces smaller than a search does."""
    loose = RelaxationSpec(max_force=0.2)
    assert verifier(relaxation=loose).identity(None)["max_force"] == 0.2
    assert verifier(relaxation=loose, options={"max_force": 0.01}).identity(None)["max_force"] == 0.01
    assert verifier("phonons", relaxation=loose).identity(None)["max_force"] == PhononOptions().max_force


def test_threshold_of_the_campaign_is_part_of_the_phonon_verdict(verifier):
    level = verifier("phonons", thresholds=Thresholds(phonon_frequency=-0.3))
    assert level.identity(None)["phonon_frequency"] == -0.3


@pytest.mark.parametrize("model", [PotentialOptions, PhononOptions])
def test_every_option_is_described(model):
    assert all(field.description for field in model.model_fields.values())


def test_names_are_sorted():
    assert VERIFIERS.names() == sorted(VERIFIERS.names())
