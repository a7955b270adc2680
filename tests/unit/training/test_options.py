"""Options of recipe lines: bound, or refused by name."""

import pytest

from training.options import bind, bind_line


def reward(rollout, low=1, *, high):
    return (rollout, low, high)


def test_options_are_bound_behind_what_the_caller_gives():
    assert bind("reward", reward, {"high": 3})("r") == ("r", 1, 3)
    assert bind_line({"name": "reward", "high": 3, "low": 2}, {"reward": reward}.__getitem__)("r") == ("r", 2, 3)
    assert bind("free", lambda rollout, **options: options, {"a": 1})("r") == {"a": 1}


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"'reward' has no option 'hihg' \(options: low, high\)"):
        bind("reward", reward, {"hihg": 3})
    with pytest.raises(ValueError, match="'reward' has no option 'rollout'"):
        bind("reward", reward, {"rollout": 1, "high": 2})
    with pytest.raises(ValueError, match="'reward' needs the option 'high'"):
        bind("reward", reward, {})
    with pytest.raises(ValueError, match="needs a name"):
        bind_line({"high": 3}, {}.__getitem__)
