"""Our murmur2 equals kafka-python's: if two writers put a key on two partitions, its records would have no order."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as theirs

from events.ids import uuid7
from messaging.relay.partition import murmur2, murmur2_all


@given(st.binary(max_size=80))
def test_murmur2_of_one_key(key: bytes) -> None:
    assert murmur2(key) == theirs(key) & 0xFFFFFFFF


@given(
    st.lists(st.one_of(st.binary(max_size=41), st.binary(min_size=36, max_size=36)), max_size=60)
)
def test_murmur2_of_many_keys(keys: list[bytes]) -> None:
    assert murmur2_all(keys) == [theirs(key) & 0xFFFFFFFF for key in keys]


def test_murmur2_of_many_keys_of_one_length() -> None:
    keys = [str(uuid7()).encode() for _ in range(2000)]

    assert list(murmur2_all(keys)) == [murmur2(key) for key in keys]
