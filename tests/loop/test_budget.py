"""The budget's arithmetic and the errors that a user with too small a budget sees."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import budget
from loop.errors import BudgetError
from loop.spec import CampaignSpec, Space

amounts = st.dictionaries(st.sampled_from(["cpu_seconds", "core_hours", "verifications"]), st.floats(0, 1e6))


def spec(**held):
    return CampaignSpec(name="test", space=Space(chemical_systems=("Ni-Ti",)), budget=held)


@given(held=amounts, settled=amounts, outstanding=amounts)
def test_remaining_is_budget_less_settled_less_outstanding(held, settled, outstanding):
    left = budget.remaining(held, settled=settled, outstanding=outstanding)
    assert set(left) == set(held)
    for currency, amount in left.items():
        expected = held[currency] - settled.get(currency, 0) - outstanding.get(currency, 0)
        assert amount == pytest.approx(expected, abs=1e-6)


def test_a_calculation_that_cost_more_than_declared_leaves_a_debt():
    assert budget.remaining({"cpu_seconds": 10.0}, settled={"cpu_seconds": 12.5}, outstanding={}) == {
        "cpu_seconds": -2.5
    }


@given(costs=st.lists(amounts), order=st.randoms())
def test_the_order_in_which_costs_settle_does_not_change_the_total(costs, order):
    shuffled = list(costs)
    order.shuffle(shuffled)
    assert budget.total(shuffled) == budget.total(costs)


@given(costs=st.lists(amounts, max_size=20), held=amounts)
def test_paying_only_what_is_affordable_never_exceeds_the_budget(costs, held):
    paid = []
    for cost in costs:
        left = budget.remaining(held, settled=budget.total(paid), outstanding={})
        if budget.affordable(cost, left):
            paid.append(cost)
    spent = budget.total(paid)
    assert all(spent.get(currency, 0.0) <= amount * (1 + 1e-6) for currency, amount in held.items())


def test_decimals_that_add_up_are_affordable():
    assert budget.affordable({"core_hours": 0.1 + 0.2}, {"core_hours": 0.3})
    assert not budget.affordable({"core_hours": 0.3001}, {"core_hours": 0.3})


def test_a_currency_without_a_budget_is_unlimited():
    assert budget.affordable({"lab_hours": 1e9}, {"cpu_seconds": 1.0})


def test_exhausted_names_what_is_gone():
    assert budget.exhausted({"cpu_seconds": 0.0, "verifications": 3.0, "core_hours": -1.0}) == (
        "core_hours",
        "cpu_seconds",
    )


@pytest.mark.parametrize(
    ("left", "costs", "expected"),
    [
        ({"cpu_seconds": 100.0, "verifications": 5.0}, [{"cpu_seconds": 50.0, "verifications": 1.0}],
         "cpu_seconds"),
        ({"cpu_seconds": 1000.0, "verifications": 5.0}, [{"cpu_seconds": 50.0, "verifications": 1.0}],
         "verifications"),
        ({"cpu_seconds": 1000.0}, [{"core_hours": 2.0}], None),
        ({"cpu_seconds": 1000.0}, [], None),
        ({"a": 10.0, "b": 10.0}, [{"b": 1.0, "a": 1.0}], "a"),
    ],
)  # fmt: skip
def test_the_scarcest_currency_runs_out_first(left, costs, expected):
    assert budget.scarcest(left, costs) == expected


def test_iterations_affordable():
    left, iteration = (
        {"verifications": 20.0, "cpu_seconds": 99.0},
        {"verifications": 6.0, "cpu_seconds": 10.0},
    )
    assert budget.iterations_affordable(left, iteration) == 3
    assert budget.iterations_affordable({"verifications": -1.0}, {"verifications": 6.0}) == 0
    assert budget.iterations_affordable({"cpu_seconds": 1.0}, {"verifications": 6.0}) is None


def test_an_unknown_currency_is_named_with_the_one_that_was_meant():
    with pytest.raises(BudgetError, match=r"budget\.cpu_second: .*did you mean 'cpu_seconds'"):
        budget.check_currencies(spec(cpu_second=5.0))


def test_a_currency_that_only_a_level_names_is_known():
    level = {"name": "dft", "verifier": "potential", "cost": {"core_hours": 2}}
    campaign = CampaignSpec.model_validate(
        {
            "name": "test",
            "space": {"chemical_systems": ["Ni-Ti"]},
            "verification": [level],
            "budget": {"core_hours": 9},
        }
    )
    budget.check_currencies(campaign)


def test_an_impossible_budget_is_refused_with_field_amounts_and_mend():
    with pytest.raises(BudgetError) as caught:
        budget.check_feasible(spec(cpu_seconds=10.0), {"cpu_seconds": 1234.5})
    message = str(caught.value)
    for part in ("budget.cpu_seconds", "holds 10", "1234.5", "at least 1240", "batch.proposals (now 60)"):
        assert part in message


def test_what_is_paid_once_counts_towards_the_first_iteration():
    budget.check_feasible(spec(cpu_seconds=100.0), {"cpu_seconds": 60.0}, once={"cpu_seconds": 40.0})
    with pytest.raises(BudgetError, match="41 of them once"):
        budget.check_feasible(spec(cpu_seconds=100.0), {"cpu_seconds": 60.0}, once={"cpu_seconds": 41.0})


@given(held=st.floats(1e-3, 1e9), factor=st.floats(1.001, 1e6))
def test_the_mend_that_the_error_names_works(held, factor):
    needed = held * factor
    with pytest.raises(BudgetError) as caught:
        budget.check_feasible(spec(cpu_seconds=held), {"cpu_seconds": needed})
    advised = float(str(caught.value).split("at least ")[1].split(",")[0])
    assert advised <= needed * 1.02 + 1e-5
    assert math.isfinite(advised)
    budget.check_feasible(spec(cpu_seconds=advised), {"cpu_seconds": needed})
