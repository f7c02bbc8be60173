"""What a refusal says to try: in words for who calls a function, with the option for who typed a command."""

from __future__ import annotations

import pytest

from ofa.errors import NoSubnetFits, OfaError
from ofa.search import errors


@pytest.mark.parametrize(
    ("name", "floor", "unit", "by_target", "said", "typed"),
    [
        ("latency", 9.8905, "ms", False, "9.891 ms of latency", ": --under 9.891ms"),
        ("latency", 9.8905, "ms", True, "9.891 ms of latency", ": its --target ends with ':9.891ms'"),
        ("MACs", 9.8905, "ms", True, "9.891 ms of MACs", ": its --target ends with ':9.891ms'"),
        ("MACs", 10.0, "", False, "10 MACs", ": --under-macs 10"),
        ("parameters", 1234567.0, "", True, "1234567 parameters", ": --under-params 1234567"),
        ("energy on phone", 3.2, "mJ", True, "3.200 mJ of energy on phone", ": --under-energy 3.200mJ"),
        ("points", 0.25, "", False, "0.2500 points", ""),
    ],
)
def test_a_command_line_says_how_it_is_typed_what_a_function_says_in_words(
    name: str, floor: float, unit: str, by_target: bool, said: str, typed: str
) -> None:
    refusal = errors.below_floor(name, at_most=0.1, floor=floor, unit=unit, subnet="s")
    assert refusal.hints == (f"allow at least {said}",)
    with pytest.raises(NoSubnetFits), errors.as_typed(by_target=by_target):
        raise refusal
    assert refusal.hints == (f"allow at least {said}{typed}",)


def test_no_advice_of_a_function_names_an_option() -> None:
    made: list[OfaError] = [
        errors.below_floor("latency", at_most=1.0, floor=2.0, unit="ms", subnet="s"),
        errors.below_bound("latency", at_most=1.0, unit="ms"),
        errors.excluded(("latency", 1.0, "ms", 2.0), ("MACs", 10.0, "", 20.0)),
        errors.nothing_found([("latency", 1.0, "ms", 2.0), ("size", 10.0, "B", 20.0)], "s"),
        errors.none_within_measured(2, "s", "2 of latency, where 1 is the most"),
        errors.energy_limit_without_source("3 mJ"),
        errors.memory_limit_without_source("3 MB"),
        errors.named_twice("phone"),
        errors.space_unpublished("tiny"),
    ]
    for refusal in made:
        assert "--" not in str(refusal)
        with pytest.raises(OfaError) as typed, errors.as_typed():
            raise refusal
        assert ("--" in str(typed.value)) == bool(refusal.needs)
    assert sum(bool(refusal.needs) for refusal in made) == len(made) - 1
