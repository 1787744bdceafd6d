"""A mistyped receipt number is reported as a typing error; one that is typed in another style is understood."""

from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.ids import uuid7
from services.billing.receipts.number import ALPHABET, LENGTH, Typo, grouped, number_of, read

# Any moment of a century, in any place: the number's day is China's.
MOMENTS = st.integers(0, 100 * 366 * 86_400_000_000).map(
    lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
NUMBERS = st.builds(number_of, st.uuids(), MOMENTS)


@given(st.uuids(), MOMENTS)
def test_a_number_says_its_day_in_china_and_reads_as_itself(id: UUID, at: datetime) -> None:
    number = number_of(id, at)
    assert len(number) == LENGTH
    assert number[:8] == f"{at + timedelta(hours=8):%Y%m%d}"
    assert set(number) <= set(ALPHABET)
    assert read(number) == read(grouped(number)) == number
    assert number_of(id, at) == number


@given(NUMBERS)
def test_every_single_wrong_character_is_found(number: str) -> None:
    for place in range(LENGTH):
        for other in ALPHABET:
            if other == number[place]:
                continue
            mistyped = number[:place] + other + number[place + 1 :]
            assert isinstance(read(mistyped), Typo), (place, other)


@given(NUMBERS)
def test_every_two_characters_that_changed_places_are_found(number: str) -> None:
    """Next to each other or anywhere."""
    for one, other in combinations(range(LENGTH), 2):
        if number[one] == number[other]:
            continue
        swapped = list(number)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        assert isinstance(read("".join(swapped)), Typo), (one, other)


@given(NUMBERS, st.data())
def test_a_missing_or_doubled_character_is_found(number: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, LENGTH - 1))
    assert read(number[:place] + number[place + 1 :]) == Typo.SHAPE
    assert read(number[:place] + number[place] + number[place:]) == Typo.SHAPE


@given(NUMBERS, st.data())
def test_hyphens_case_spaces_and_look_alikes_do_not_matter(
    number: str, data: st.DataObject
) -> None:
    alike = {"0": "0Oo", "1": "1IiLl"}
    typed = "".join(
        data.draw(st.sampled_from(alike.get(each, each + each.lower()))) for each in number
    )
    for place in sorted(data.draw(st.sets(st.integers(1, LENGTH - 1), max_size=5)), reverse=True):
        typed = typed[:place] + data.draw(st.sampled_from(" -‐–—\u3000")) + typed[place:]
    assert read(typed) == number


@given(st.text(max_size=40))
def test_any_typed_text_gives_a_number_or_a_reason(typed: str) -> None:
    assert isinstance(read(typed), str)


@pytest.mark.parametrize(
    "typed", ["", "20261123", "U" * 24, "２０２６" * 6, "1" * 23 + "é", "1" * 24 + "\n"]
)
def test_a_text_of_another_shape_is_not_a_number(typed: str) -> None:
    assert read(typed) == Typo.SHAPE


def test_ids_that_share_most_of_their_bits_give_numbers_that_do_not() -> None:
    """A channel may make its ids by counting."""
    at = datetime(2026, 11, 23, tzinfo=UTC)
    counted = [number_of(UUID(int=n), at) for n in range(5_000)]
    ours = [number_of(uuid7(), at) for _ in range(5_000)]
    for numbers in (counted, ours):
        assert len(set(numbers)) == len(numbers)
        # Every place of the random part takes every value: nothing of it can be guessed from another number.
        assert all({number[place] for number in numbers} == set(ALPHABET) for place in range(8, 24))


def test_the_day_changes_at_midnight_in_china() -> None:
    id, midnight = uuid7(), datetime(2026, 11, 22, 16, tzinfo=UTC)
    before = number_of(id, midnight - timedelta(microseconds=1))
    assert (before[:8], number_of(id, midnight)[:8]) == ("20261122", "20261123")
    assert date(2026, 11, 23).isoformat().replace("-", "") == number_of(id, midnight)[:8]


def test_a_number_is_printed_in_groups() -> None:
    assert grouped("202611237K2M9QXAB0CD4TFW") == "20261123-7K2M-9QXA-B0CD-4TFW"
