"""Halving: all good items in as few calls as it takes, and each bad one alone."""

from collections.abc import Sequence

import pytest

from services.notifications.deliveries.narrow import narrow


@pytest.mark.parametrize("bad", [set(), {0}, {7}, {3, 4}, set(range(8))])
async def test_each_good_item_is_worked_on_once_and_each_bad_one_is_found(bad: set[int]) -> None:
    done: list[int] = []
    calls = 0

    async def work(items: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if bad & set(items):
            raise ValueError
        done.extend(items)

    found = await narrow(range(8), work)
    assert {item for item, _ in found} == bad
    assert done == [each for each in range(8) if each not in bad]
    assert calls <= 1 + 6 * len(bad)


async def test_nothing_is_no_work() -> None:
    async def work(_: Sequence[int]) -> None:
        raise ValueError

    assert await narrow([], work) == []


async def test_an_error_that_passes_by_itself_is_raised_and_blames_nobody() -> None:
    done: list[int] = []

    async def work(items: Sequence[int]) -> None:
        if len(items) > 2:
            raise ValueError
        if 3 in items:
            raise ConnectionResetError
        done.extend(items)

    with pytest.raises(ConnectionResetError):
        await narrow(range(8), work)
    assert done == [0, 1]
