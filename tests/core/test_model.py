"""Addresses are equal when they lead to the same place."""

import pytest

from everfly.core.model import Address


def test_a_name_equals_the_ip_that_it_resolves_to() -> None:
    named = Address("alpha.example", 6379, "10.0.0.1")
    literal = Address("10.0.0.1", 6379)
    assert named == literal
    assert hash(named) == hash(literal)
    assert {literal: "found"}[named] == "found"


def test_two_names_of_one_ip_are_one_place() -> None:
    assert Address("a.example", 6379, "10.0.0.1") == Address("b.example", 6379, "10.0.0.1")


@pytest.mark.parametrize(
    "other",
    [
        Address("10.0.0.1", 6380),
        Address("10.0.0.2", 6379),
        Address("alpha.example", 6379),
        Address("alpha.example", 6379, "10.0.0.2"),
    ],
)
def test_another_port_ip_or_an_unresolved_name_is_another_place(other: Address) -> None:
    assert other != Address("10.0.0.1", 6379)


def test_unresolved_names_are_compared_as_given() -> None:
    assert Address("alpha.example", 6379) == Address("alpha.example", 6379)
    assert Address("alpha.example", 6379) != Address("beta.example", 6379)


def test_an_address_is_not_its_text() -> None:
    assert Address("10.0.0.1", 6379) != "10.0.0.1:6379"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("10.0.0.1", 6379), "10.0.0.1:6379"),
        (Address("alpha.example", 6379, "10.0.0.1"), "alpha.example:6379"),
        (Address("fd00::1", 6379), "[fd00::1]:6379"),
    ],
)
def test_text_has_the_host_as_given_and_brackets_around_ipv6(address: Address, text: str) -> None:
    assert str(address) == text
