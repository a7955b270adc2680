"""What steps earn, counted by hand, and where they stand among the tokens."""

import itertools

import pytest
import torch

from data import protocol
from training.losses import KINDS, policy_loss
from training.step_credit import step_credit, step_finder
from training.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["vision"], 512, per_level=4)


def test_steps_stand_where_the_parser_reads_them(tokenizer):
    find = step_finder(tokenizer)
    text = "<think>first: 7\n\n second: 6\nsum: 7 + 6 = 13</think><answer>13</answer><|end|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans = find(ids)
    assert [tokenizer.decode(ids[a:b]).strip() for a, b in spans] == protocol.parse(text).steps
    assert spans[0][0] == 1 and ids[spans[-1][1]] == tokenizer.convert_tokens_to_ids(protocol.END_THINK)
    assert all(a < b for a, b in spans) and all(b <= a for (_, b), (a, _) in itertools.pairwise(spans))
    for broken in ("<think>first: 7\nsecond: 6", "first: 7</think>", ""):
        assert find(tokenizer(broken, add_special_tokens=False)["input_ids"]) == []
    assert find(tokenizer("<think>\n\n</think>", add_special_tokens=False)["input_ids"]) == []


def test_credit_is_right_minus_what_the_group_says_of_the_fact():
    spans = [[(1, 3), (3, 5)], [(1, 3), (3, 5)], [(1, 2)], [(1, 3), (3, 5)]]
    steps = [["red: 7", "blue: 1"], ["red: 6", "blue: 1"], ["red: 7"], ["green: 4", "blue: 1"]]
    verdicts = [["ok", "ok"], ["wrong", "ok"], ["ok"], ["unparsed", "ok"]]
    credit = step_credit(spans, steps, verdicts, 4, 6)
    third = 1 / 3  # red: two of three right, so 1 - 2/3 and 0 - 2/3; blue: all right, and green said once: nothing
    wanted = [[0, third, third, 0, 0, 0], [0, -2 * third, -2 * third, 0, 0, 0], [0, third, 0, 0, 0, 0], [0] * 6]
    assert credit.dtype == torch.float64 and torch.allclose(credit, torch.tensor(wanted, dtype=torch.float64))


def test_groups_do_not_see_each_other_and_mismatched_rollouts_earn_nothing():
    spans, verdicts = [[(0, 1)], [(0, 1)], [(0, 1)], [(0, 2)]], [["ok"], ["wrong"], ["wrong"], ["ok", "ok"]]
    credit = step_credit(spans, [["a: 1"], ["a: 2"], ["a: 1"], ["a: 1", "b: 2"]], verdicts, 2, 2)
    assert credit.tolist() == [[0.5, 0.0], [-0.5, 0.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_advantage_of_every_token_is_that_of_the_rollout_where_all_are_alike(kind):
    generator = torch.Generator().manual_seed(3)
    logps, old = (-torch.rand(4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    advantages, mask = torch.tensor([1.0, -0.5, 0.0, 2.0], dtype=torch.float64), torch.ones(4, 5)
    whole, told = policy_loss(logps, old, advantages, mask, kind)
    by_token, told_too = policy_loss(logps, old, advantages[:, None].expand(4, 5), mask, kind)
    torch.testing.assert_close(whole, by_token)
    assert {k: float(v) for k, v in told.items()} == pytest.approx({k: float(v) for k, v in told_too.items()})
