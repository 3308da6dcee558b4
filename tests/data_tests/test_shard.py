"""Parts of a sequence for several processes."""

import pytest

from data.shard import Shard, parse_shard


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_shards_together_are_everything_once(count: int) -> None:
    items = list(range(7))
    parts = [Shard(number, count).of(items) for number in range(1, count + 1)]

    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_written_as_a_fraction_and_nothing_is_everything() -> None:
    assert parse_shard("3/8") == Shard(3, 8)
    assert list(parse_shard("").of("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "a/b", "-1/2", "1/0", "1/2/3", " 1/2"])
def test_what_is_no_shard_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--shard is a number of a part .* got"):
        parse_shard(text)
