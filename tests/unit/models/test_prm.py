"""The process reward model: one pass, no label in the context, a loss that is what it says."""

import math
from types import SimpleNamespace

import pytest
import torch

from data import protocol
from data.solutions import mark_steps
from models.configuration import FocalConfig
from models.lora import add_lora
from models.modeling import FocalModel
from models.prm import FocalPRM, rank_loss, step_loss, step_weights

STEP = 60


def policy():
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    return FocalModel(FocalConfig(llm=llm, streams={}))


def test_it_starts_from_the_policy_and_is_undecided():
    model = policy()
    prm = FocalPRM.from_policy(model, STEP).eval()
    ids = torch.tensor([[1, 2, STEP, 3, STEP], [4, STEP, 0, 0, 0]])
    mask = (ids != 0).long()
    assert prm.step_scores(ids, mask) == [[0.5, 0.5], [0.5]]
    torch.testing.assert_close(prm.hidden_states(ids, mask), model.eval().hidden_states(ids, mask))


def test_later_steps_cannot_reach_back_and_padding_does_not_matter():
    prm = FocalPRM.from_policy(policy(), STEP).eval()
    torch.nn.init.normal_(prm.judge.weight)
    one = prm.step_logits(torch.tensor([[1, 2, STEP, 3, 4, STEP]]))
    other = prm.step_logits(torch.tensor([[1, 2, STEP, 9, 9, STEP]]))
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6)
    assert not torch.allclose(one[1], other[1])
    padded = prm.step_logits(torch.tensor([[1, 2, STEP, 3, 4, STEP, 0], [5, STEP, 6, 6, 6, 6, 6]]), torch.tensor([[1] * 6 + [0], [1] * 7]))
    torch.testing.assert_close(padded[:2], one, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_keeps_its_head(tmp_path):
    prm = FocalPRM.from_policy(policy(), STEP).eval()
    torch.nn.init.normal_(prm.judge.weight)
    prm.save_pretrained(tmp_path)
    again = FocalPRM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[1, 2, STEP]])
    assert torch.equal(prm.step_logits(ids), again.step_logits(ids))


def test_a_placeholder_is_needed():
    with pytest.raises(ValueError, match="step_token_id"):
        FocalPRM(policy().config)


@pytest.mark.parametrize(("right", "wrong", "score"), [(2, 0, 0.880797), (0, 0, 0.5), (-1, 1, 0.119203)])
def test_the_score_of_a_step_is_the_share_of_right(right, wrong, score):
    """Logits as the head has them, wrong first; the same constant on both changes nothing."""
    for shift in (0.0, 7.5, -300.0):
        logits = torch.tensor([[wrong + shift, right + shift]])
        found = FocalPRM.split_scores(SimpleNamespace(config=SimpleNamespace(step_token_id=7)), logits, torch.tensor([[1, 7]]))
        assert found == [[pytest.approx(score, abs=1e-6)]]
        assert step_loss(logits, torch.tensor([1.0])).item() == pytest.approx(-math.log(score), abs=1e-5)


def test_soft_cross_entropy():
    # q = .25 against p = .25: -(.25 ln .25 + .75 ln .75) = .562335, and the gradient there is zero.
    logits = torch.tensor([[math.log(0.75), math.log(0.25)]], requires_grad=True)
    loss = step_loss(logits, torch.tensor([0.25]))
    assert loss.item() == pytest.approx(0.562335, abs=1e-6)
    loss.backward()
    assert logits.grad.abs().max() < 1e-7


def test_unmeasured_steps_take_no_part_and_wrong_ones_can_weigh_more():
    logits = torch.tensor([[0.0, 0.0], [5.0, -5.0], [0.0, 2.0]])
    targets = torch.tensor([1.0, float("nan"), 0.0])
    right, wrong = math.log(2), math.log(1 + math.exp(2))
    assert step_loss(logits, targets).item() == pytest.approx((right + wrong) / 2, rel=1e-6)
    assert step_loss(logits, targets, balance=3.0).item() == pytest.approx((right + 3 * wrong) / 4, rel=1e-6)
    assert step_loss(logits, torch.full((3,), float("nan"))).item() == 0.0


def test_steps_are_marked_and_text_cannot_pose_as_a_mark():
    text = f"<think>a: 1\nb: <|step|> 2</think><answer>3{protocol.STEP}</answer>"
    assert mark_steps(protocol.parse(text)) == "<think>a: 1<|step|>\nb: < |step|> 2<|step|></think><answer>3< |step|></answer><|step|>"
    assert mark_steps(protocol.parse("<think></think><answer>3</answer>")) == "<think></think><answer>3</answer><|step|>"
    with pytest.raises(ValueError, match="no solution"):
        mark_steps(protocol.parse("<think>a: 1</think>"))


def test_solutions_behind_one_reading_of_their_prompt_score_as_alone():
    prm = FocalPRM.from_policy(policy(), STEP).eval()
    torch.nn.init.normal_(prm.judge.weight)
    prompts = {"input_ids": torch.tensor([[0, 0, 1, 2], [3, 4, 5, 6]]), "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])}
    solutions = torch.tensor([[7, STEP, 8, STEP], [9, 9, STEP, 0], [7, STEP, 0, 0]])
    owners = torch.tensor([0, 0, 1])
    ends, hidden = prm.hidden_behind(prompts, solutions, owners)
    together = prm.split_scores(prm.judge_marks(solutions, hidden, ends[owners])[0], solutions)
    alone = [[1, 2, 7, STEP, 8, STEP], [1, 2, 9, 9, STEP], [3, 4, 5, 6, 7, STEP]]
    for scores, row in zip(together, alone, strict=True):
        assert scores == pytest.approx(prm.step_scores(torch.tensor([row]))[0], abs=1e-6)


SAYS = 7  # the first token of a solution


def likely():
    prm = FocalPRM.from_policy(policy(), STEP, solution_token_id=SAYS).eval()
    torch.nn.init.normal_(prm.judge.weight)
    return prm


def test_likelihood_is_of_what_stands_behind_the_first_token_of_the_solution():
    """By hand from the model's own log-probabilities: 0.3 (sum so far + least so far + least of the step) + 1 on the logit of `right`."""
    prm, row = likely(), torch.tensor([[1, 2, SAYS, 8, 9, STEP, 10, 11, STEP, 0]])
    hidden = prm.hidden_states(row, (row != 0).long())
    logps = prm.logits(hidden[0]).detach().double().log_softmax(-1)
    said = {place: float(logps[place - 1, row[0, place]]) for place in (3, 4, 6, 7)}
    first = [said[3] + said[4], min(said[3], said[4]), min(said[3], said[4])]
    second = [sum(said.values()), min(said.values()), min(said[6], said[7])]
    plain = prm.judge(hidden[0, [5, 8]])
    expected = plain[:, 1] - plain[:, 0] + torch.tensor([0.3 * sum(first) + 1, 0.3 * sum(second) + 1])
    logits = prm.step_logits(row, (row != 0).long())
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_likelihood_is_the_same_in_pieces_behind_a_shared_prompt_and_alone(tmp_path):
    prm = likely()
    prompts = {"input_ids": torch.tensor([[0, 0, 1, 2], [3, 4, 5, 6]]), "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])}
    solutions = torch.tensor([[SAYS, 8, STEP, 9, 10, STEP], [SAYS, STEP, 8, STEP, 0, 0], [SAYS, 11, STEP, 0, 0, 0]])
    owners = torch.tensor([0, 0, 1])
    ends, hidden = prm.hidden_behind(prompts, solutions, owners)
    whole, _ = prm.judge_marks(solutions, hidden, ends[owners])
    alone = [[1, 2, *solutions[0].tolist()], [1, 2, *solutions[1, :4].tolist()], [3, 4, 5, 6, SAYS, 11, STEP]]
    torch.testing.assert_close(whole, torch.cat([prm.step_logits(torch.tensor([row])) for row in alone]), rtol=1e-5, atol=1e-5)
    first, carried = prm.judge_marks(solutions[:1, :3], hidden[:1, :3], ends[:1])
    nothing, carried = prm.judge_marks(solutions[:1, :0], hidden[:1, :0], hidden[:1, 2], carried)
    second, _ = prm.judge_marks(solutions[:1, 3:], hidden[:1, 3:], hidden[:1, 2], carried)
    assert len(nothing) == 0
    torch.testing.assert_close(torch.cat([first, second]), whole[:2], rtol=1e-5, atol=1e-5)
    prm.save_pretrained(tmp_path)
    row = torch.tensor([alone[0]])
    assert torch.equal(FocalPRM.from_pretrained(tmp_path).eval().step_logits(row), prm.step_logits(row))


def test_the_teacher_forced_form_has_no_second_likelihood():
    with pytest.raises(ValueError, match="prm_likelihood goes with prm_form placeholder"):
        FocalPRM.from_policy(policy(), STEP, "teacher_forced", [1, 2], solution_token_id=SAYS)


def test_its_gradient_is_that_of_reading_each_solution_alone():
    model = policy()
    grads = []
    for shared in (True, False):
        prm = FocalPRM.from_policy(model, STEP)
        torch.manual_seed(1)
        torch.nn.init.normal_(prm.judge.weight)
        if shared:
            prompt = {"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
            ids = torch.tensor([[7, STEP], [9, STEP]])
            ends, hidden = prm.hidden_behind(prompt, ids, torch.tensor([0, 0]))
            logits, _ = prm.judge_marks(ids, hidden, ends[[0, 0]])
        else:
            logits = prm.step_logits(torch.tensor([[1, 2, 7, STEP], [1, 2, 9, STEP]]))
        step_loss(logits, torch.tensor([1.0, 0.0])).backward()
        grads.append({n: p.grad for n, p in prm.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], rtol=1e-4, atol=1e-6)


def test_an_earlier_label_cannot_change_a_later_logit_unless_it_is_forced_in():
    """The default form has no place for labels: the solution's ids are the same whatever they are. The teacher-forced form shows them."""
    parsed = protocol.parse("<think>a: 1 - 2\nb: +2</think><answer>3</answer>")
    assert mark_steps(parsed).count(protocol.STEP) == 3
    right, wrong = mark_steps(parsed, [1, 1, 1]), mark_steps(parsed, [0, 1, 0.4])
    assert right.count(protocol.STEP + "+") == 3
    assert wrong.startswith(f"<think>a: 1 - 2{protocol.STEP}-\nb: +2{protocol.STEP}+</think>") and wrong.endswith(protocol.STEP + "-")
    assert mark_steps(parsed, [None, 1, 1]) == right
    with pytest.raises(ValueError, match="2 labels for 2 steps and an answer"):
        mark_steps(parsed, [1, 1])

    plus, minus, forced = 61, 62, FocalPRM.from_policy(policy(), STEP, "teacher_forced", [62, 61]).eval()
    rows = torch.tensor([[1, 2, STEP, plus, 3, STEP, plus], [1, 2, STEP, minus, 3, STEP, minus]])
    first, second = forced.step_logits(rows).view(2, 2, 2).unbind(1)
    assert torch.equal(first[0], first[1]) and not torch.allclose(second[0], second[1])
    # The label's own token is what is predicted, so the label of a step cannot change that step's logit.
    last = forced.step_logits(torch.tensor([[1, 2, STEP, plus], [1, 2, STEP, minus]]))
    assert torch.equal(last[0], last[1])


def test_the_teacher_forced_form_reads_the_language_model_head():
    model = policy()
    forced = FocalPRM.from_policy(model, STEP, "teacher_forced", [62, 61]).eval()
    ids = torch.tensor([[1, 2, STEP]])
    expected = model.eval()(ids).logits[0, -1, [62, 61]]
    torch.testing.assert_close(forced.step_logits(ids)[0], expected)
    for options in ({"form": "teacher_forced"}, {"form": "chat"}):
        with pytest.raises(ValueError, match="prm_form"):
            FocalPRM.from_policy(model, STEP, **options)


def test_balance_and_counts():
    targets = torch.tensor([1.0, 1.0, 1.0, 0.0, float("nan")])
    assert step_weights(targets, "equal").tolist() == [1, 1, 1, 3, 0]
    assert step_weights(targets, 2.0, torch.tensor([1, 2, 1, 5, 1])).tolist() == [1, 2, 1, 10, 0]
    assert step_weights(torch.tensor([0.25])).item() == 1.0
    assert step_weights(torch.tensor([1.0, 1.0]), "equal").tolist() == [1, 1]  # one class alone
    # A solution drawn twice weighs as two.
    logits, double = torch.randn(2, 2, dtype=torch.float64), torch.tensor([2, 1])
    once = step_loss(logits, torch.tensor([1.0, 0.0]), weights=step_weights(torch.tensor([1.0, 0.0]), 1.0, double))
    twice = step_loss(logits[[0, 0, 1]], torch.tensor([1.0, 1.0, 0.0]))
    assert once.item() == pytest.approx(twice.item(), rel=1e-6)


def test_parts_of_a_step_add_up():
    logits, targets = torch.randn(6, 2), torch.tensor([1.0, 0.0, float("nan"), 1.0, 0.0, 0.3])
    weights = step_weights(targets, "equal")
    whole = step_loss(logits, targets, weights=weights)
    parts = [step_loss(logits[s], targets[s], weights=weights[s], denominator=weights.sum()) for s in (slice(0, 2), slice(2, 3), slice(3, 6))]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_rank_loss_by_hand():
    scores, right = torch.tensor([2.0, 0.0, 1.0, 5.0]), torch.tensor([True, False, False, True])
    one = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert rank_loss(scores[:3], right[:3], torch.tensor([0, 0, 0])).item() == pytest.approx(one, rel=1e-6)
    assert rank_loss(scores, right, torch.tensor([0, 0, 0, 1])).item() == pytest.approx(one, rel=1e-6)  # a prompt of right ones only has no pair
    two = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1 - 5))) / 2
    assert rank_loss(scores, right, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(two, rel=1e-6)
    assert rank_loss(scores[:1], right[:1], torch.tensor([0])).item() == 0.0


def test_lora_learns_adapters_and_heads_alone():
    model = policy()
    prm = FocalPRM.from_policy(model, STEP, lora={"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj"], "parts": ["llm"]})
    learns = {name for name, p in prm.named_parameters() if p.requires_grad}
    assert learns and all("lora_" in n or n.startswith(("judge.", "value_head.")) for n in learns)
    ids = torch.tensor([[1, 2, STEP]])
    torch.testing.assert_close(prm.eval().hidden_states(ids), model.eval().hidden_states(ids))  # adapters start at zero
    assert model.config.lora is None


def test_a_policy_with_adapters_keeps_them_or_is_merged(tmp_path):
    model = policy()
    settings = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj", "v_proj"], "parts": ["llm"]}
    add_lora(model, settings)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    ids = torch.tensor([[1, 2, STEP]])
    expected = model.eval().hidden_states(ids)
    kept, fresh = FocalPRM.from_policy(model, STEP), FocalPRM.from_policy(model, STEP, lora=settings | {"targets": ["o_proj"]})
    for prm in (kept, fresh):
        torch.testing.assert_close(prm.eval().hidden_states(ids), expected, rtol=1e-4, atol=1e-5)
    assert not any("q_proj.lora" in name for name, _ in fresh.named_parameters())
    kept.save_pretrained(tmp_path)
    torch.testing.assert_close(FocalPRM.from_pretrained(tmp_path).eval().step_logits(ids), kept.step_logits(ids))


def test_values_start_undecided():
    prm = FocalPRM.from_policy(policy(), STEP)
    assert prm.values(torch.randn(3, 32)).sigmoid().tolist() == [0.5] * 3


def test_a_smaller_prm_has_the_policys_first_layers(tmp_path):
    model = policy()
    small = FocalPRM.from_policy(model, STEP, layers=1).eval()
    assert len(small.llm.model.layers) == 1
    mine, theirs = small.llm.model.layers[0].state_dict(), model.llm.model.layers[0].state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    small.save_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, STEP]])
    assert torch.equal(FocalPRM.from_pretrained(tmp_path).eval().step_logits(ids), small.step_logits(ids))
    for layers in (0, 3):
        with pytest.raises(ValueError, match=f"layers: {layers} is not between 1 and the policy's 2"):
            FocalPRM.from_policy(model, STEP, layers=layers)
