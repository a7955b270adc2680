"""The tw_grpo stage on a model of a few thousand parameters: they run, log what they promise, and resume to the bit."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from configs.load import load_recipe
from training import run as runs
from training.stages.tw_grpo import TWGRPOStage

SIZES = {
    "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "tie_word_embeddings": True,
}  # fmt: skip
ENCODER = {"name": "conv", "kind": "image", "width": 16, "depth": 1, "heads": 2, "size": 32}
COMMON = {"mixture": {"easy": 1.0}, "batch_size": 2, "num_workers": 0, "save_every": 2}
RECIPE = {
    "name": "speck", "threads": 1,
    "model": {
        "llm": {"config": SIZES}, "tokenizer": {"worlds": ["vision"], "vocab_size": 512}, "streams": {"image": {"encoder": ENCODER}},
    },
    "data": {"sources": {"easy": {"world": "vision", "level": 1, "families": ["bar"]}}},
    "stages": [{**COMMON, "name": "rl", "kind": "tw_grpo", "steps": 4, "num_generations": 3, "max_new_tokens": 6, "lr": 0.01,
                "rewards": [{"name": "chatter"}, {"name": "format", "weight": 0.5}]}],
    "release": False,
}  # fmt: skip
LOGGED = (
    "reward", "reward_chatter", "reward_format", "effective_ratio", "entropy", "clip_high", "completion_length", "truncated", "weight_mean", "drift",
    "generate_tokens_per_s", "reward_tokens_per_s", "update_tokens_per_s", "peak_memory_mb", "grad_norm", "weight_std", "weight_max", "clip_low",
    "zero_variance_groups", "prompts_drawn", "reward_failures", "reward_std",
)  # fmt: skip
TIMED = ("tokens_per_s", "generate_tokens_per_s", "update_tokens_per_s", "reward_tokens_per_s", "peak_memory_mb")


@pytest.fixture(scope="module")
def tokenizer():
    from training.tokenizer import build_tokenizer

    return build_tokenizer(["vision"], 512, per_level=2)


@pytest.fixture
def start(tmp_path, tokenizer, monkeypatch):
    import training.tokenizer
    from configs.registry import REWARDS

    monkeypatch.setattr(training.tokenizer, "build_tokenizer", lambda *_: tokenizer)
    # Random weights never answer right, so the reward must vary with something else: how many different words were said.
    monkeypatch.setitem(REWARDS._objects, "chatter", lambda rollout: len(set(rollout.completion)) / 10)
    path = tmp_path / "speck.yaml"
    path.write_text(yaml.safe_dump(RECIPE))

    def start(*overrides):
        recipe = load_recipe(path, list(overrides))
        before = torch.get_num_threads()
        judge = runs.Judge(lambda *_: [], lambda *_: None, lambda *_: None)
        folder = runs.run(recipe, tmp_path / recipe.name, judge)
        torch.set_num_threads(before)
        return folder

    return start


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def untimed(folder):
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows(folder)]


def test_every_step_logs_what_it_promises_and_the_weights_move(start):
    folder = start()
    assert len(rows(folder)) == 4
    assert not [key for key in LOGGED if key not in rows(folder)[0]]
    first = rows(folder)[0]
    assert first["effective_ratio"] > 0 and first["grad_norm"] > 0 and 1.0 <= first["weight_mean"] <= 1.7 and first["drift"] < 0.05
    shown = [json.loads(line) for line in (folder / "stages/0-rl/rollouts.jsonl").read_text().splitlines()]
    assert shown[0]["step"] == 1 and len(shown[0]["rollouts"]) == 3
    for rollout in shown[0]["rollouts"]:
        assert len(rollout["tokens"]) == len(rollout["weights"])


class CutError(Exception):
    pass


def cut_at(step):
    """A run that ends with an exception when it comes to this step (from 0)."""
    original = TWGRPOStage.step

    def cut(self, batch, number):
        if number == step:
            raise CutError
        return original(self, batch, number)

    return cut


PLAIN, BUSY = (), ("stages.rl.beta=0.05", "stages.rl.updates=2", "stages.rl.dynamic_sampling=refill", "stages.rl.micro_tokens=8")


@pytest.mark.parametrize(("step", "overrides"), [(0, PLAIN), (1, PLAIN), (2, PLAIN), (3, PLAIN), (3, BUSY)])
def test_a_run_cut_at_any_step_continues_to_the_bit(start, monkeypatch, step, overrides):
    whole = start("name=whole", *overrides)
    with monkeypatch.context() as patch:
        patch.setattr(TWGRPOStage, "step", cut_at(step))
        with pytest.raises(CutError):
            start("name=cut", *overrides)
    cut_run = start("name=cut", *overrides)
    a, b = (load_file(f / "stages/0-rl/checkpoint/model.safetensors") for f in (whole, cut_run))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert untimed(whole) == untimed(cut_run)
    shown = [(f / "stages/0-rl/rollouts.jsonl").read_text() for f in (whole, cut_run)]
    assert shown[0] == shown[1]


def test_time_outs_and_failures_survive_a_resume(start, monkeypatch):
    """When the machine is quick again, a reward that had timed out still counts as it did."""
    from configs.registry import REWARDS

    machine = {"slow": True}

    def moody(rollout):
        kind = len(rollout.completion) % 3
        while machine["slow"] and kind == 0:  # pure Python, and never ends
            pass
        return 1 / (kind - 1) if kind < 2 else 0.5

    monkeypatch.setitem(REWARDS._objects, "moody", moody)
    overrides = ("stages.rl.rewards=[{name: moody}, {name: chatter}]", "stages.rl.reward_seconds=0.02")
    whole = start("name=whole", *overrides)
    with monkeypatch.context() as patch:
        patch.setattr(TWGRPOStage, "step", cut_at(3))
        with pytest.raises(CutError):
            start("name=cut", *overrides)
    machine["slow"] = False
    folder = start("name=cut", *overrides)
    assert untimed(whole)[:3] == untimed(folder)[:3]  # the third step ran twice
    assert rows(folder)[2]["reward_failures"] > rows(folder)[1]["reward_failures"] > 0
    failures = json.loads((whole / "stages/0-rl/done.json").read_text())["reward_failures"]
    assert failures["moody: timeout"] and failures["moody: ZeroDivisionError"]
    assert rows(whole)[-1]["reward_failures"] == sum(failures.values())


@pytest.mark.parametrize(
    "override",
    [
        "stages.rl.loss=grpo", "stages.rl.beta=0.05", "stages.rl.updates=2", "stages.rl.dynamic_sampling=drop", "stages.rl.dynamic_sampling=refill",
        "stages.rl.mask_truncated=true", "stages.rl.micro_tokens=8", "stages.rl.token_weights.mode=official", "stages.rl.token_weights.mode=none",
        "stages.rl.advantage={name: virtual_reward}", "stages.rl.loss=bnpo", "stages.rl.loss=cispo", "stages.rl.top_p=0.9",
        "stages.rl.rollout_tokens=64",
        "stages.rl.filters=[{name: three_sigma}]", "stages.rl.token_weights={mode: masked, renorm: true}", "stages.rl.loss_options={delta: 2.0}",
        "stages.rl.freeze=[image.encoder]", "dtype=bfloat16", "model.gradient_checkpointing=true",
    ],
)  # fmt: skip
def test_the_family_runs(start, override):
    folder = start("stages.rl.steps=2", override)
    assert all(row["loss"] is not None and row["skipped"] == 0 for row in rows(folder))
    if "beta" in override:
        assert rows(folder)[1]["kl"] > 0


@pytest.mark.parametrize("loss", ["tw_grpo", "grpo", "dr_grpo"])
def test_micro_batches_give_the_same_step(start, loss):
    only = ("stages.rl.steps=1", f"stages.rl.loss={loss}")
    one, many = start("name=one", *only), start("name=many", *only, "stages.rl.micro_tokens=8")
    assert rows(one)[0]["grad_norm"] == pytest.approx(rows(many)[0]["grad_norm"], rel=1e-4)
    assert rows(one)[0]["loss"] == pytest.approx(rows(many)[0]["loss"], abs=1e-5)


def test_a_step_s_credit_teaches_where_the_answers_tell_nothing(start, monkeypatch):
    alike = ("stages.rl.steps=1", "stages.rl.rewards=[{name: format}]")  # random weights never keep the format: no group has variance
    silent = start("name=silent", *alike)
    assert "grad_norm" not in rows(silent)[0] or rows(silent)[0]["grad_norm"] == 0
    asked = []

    def credit(spans, steps, verdicts, size, positions):
        asked.append((len(spans), len(steps), len(verdicts), size, positions))
        return torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])[:, None].expand(6, positions).double()

    monkeypatch.setattr("training.stages.tw_grpo.step_credit", credit)
    folder = start("name=told", *alike, "stages.rl.step_credit=2.0")
    assert rows(folder)[0]["grad_norm"] > 0 and rows(folder)[0]["effective_ratio"] == 0
    (told,) = asked
    assert told[:4] == (6, 6, 6, 3)


def test_an_unknown_reward_ends_the_run_before_it_starts(start):
    with pytest.raises(ValueError, match="unknown reward 'anser'; did you mean 'answer'"):
        start("stages.rl.rewards=[{name: anser}]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.rl.loss=gspoo", "unknown loss 'gspoo'; did you mean 'gspo'"),
        ("stages.rl.token_weights.mode=jds", "unknown token-weight rule 'jds'; did you mean 'jsd'"),
        ("stages.rl.advantage={name: group, sclae: none}", "'group' has no option 'sclae' .options: scale, eps."),
        ("stages.rl.filters=[{name: three_sigma, rules: official}]", "'three_sigma' has no option 'rules' .options: rule."),
        ("stages.rl.rewards=[{name: overlong_penalty, limit: 9}]", "'overlong_penalty' needs the option 'buffer'"),
        ("stages.rl.rewards=[{name: temporal}]", "set shuffled_frames"),
        ("stages.rl.loss_options={delt: 2}", "unknown key in loss_options: 'delt'"),
        ("stages.rl.engine=http", "reinforcement through engine 'http' is refused"),
    ],
)
def test_wrong_names_and_options_end_the_run_before_it_starts(start, tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        start(override)
    assert not (tmp_path / "speck").exists()


def test_the_base_is_a_reference_only_below_adapters(start):
    with pytest.raises(ValueError, match="this model has none: set model"):
        start("stages.rl.beta=0.1", "stages.rl.reference=base")


@pytest.mark.parametrize("reference", ["start", "base"])
def test_adapters_learn_and_the_base_below_them_stays(start, reference):
    lora = "model.lora={rank: 2, targets: [q_proj, v_proj], parts: [llm]}"
    folder = start("stages.rl.steps=3", lora, "stages.rl.beta=0.1", f"stages.rl.reference={reference}")
    kl = [row["kl"] for row in rows(folder)]
    assert kl[0] == pytest.approx(0.0, abs=1e-9) and kl[2] > 0
    weights = load_file(folder / "stages/0-rl/checkpoint/model.safetensors")
    assert any("lora_B" in name and value.abs().max() > 0 for name, value in weights.items())


def test_a_wide_drift_is_said_once(start, monkeypatch):
    from training import rollout

    original = rollout._draw

    def lying(*args, **options):
        drawn = original(*args, **options)
        drawn.logps -= 0.5
        return drawn

    monkeypatch.setattr(rollout, "_draw", lying)
    with pytest.warns(UserWarning, match="differ by 0.4") as said:
        folder = start("stages.rl.steps=2")
    assert len([w for w in said if "off-policy" in str(w.message)]) == 1
    assert rows(folder)[0]["drift"] == pytest.approx(0.5, abs=0.01)
