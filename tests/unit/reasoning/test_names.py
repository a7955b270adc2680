"""The words for a search."""

import pytest

from reasoning.names import search_name


@pytest.mark.parametrize(
    ("strategy", "samples", "scorer", "name"),
    [
        ("greedy", 1, None, "greedy"),
        ("majority", 8, None, "majority of 8"),
        ("best_of_n", 8, "prm", "best of n of 8 by prm"),
        ("majority_same_tokens", 4, "self_judge", "majority same tokens of 4 by self judge"),
    ],
)
def test_a_search_in_words(strategy, samples, scorer, name):
    assert search_name({"strategy": strategy, "samples": samples, "scorer": scorer}) == name
