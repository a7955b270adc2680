"""A program for `torchrun --nproc_per_node 2`: each process learns from its share of the prompts, and the gradients must be those of one process that
has them all. Prints one line per check; a difference is an assertion."""

from types import SimpleNamespace

import torch

from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.processing import pad_ids
from training.rollout import Rollouts
from training.stages.context import StageContext, build_accelerator
from training.stages.sft import supervised_step
from training.stages.tw_grpo import TWGRPOConfig, TWGRPOStage
from training.update import Objective

GROUP = 3
OPTIONS = ({}, {"loss": "bnpo"}, {"dynamic_sampling": "drop"}, {"loss": "grpo", "micro_tokens": 1})
ALONE = SimpleNamespace(num_processes=1, process_index=0, is_main_process=True, device=torch.device("cpu"))


def model():
    torch.manual_seed(0)
    llm = {
        "model_type": "qwen3", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    return FocalModel(FocalConfig(llm=llm, streams={}))


def rollouts(prompts):
    """Rollouts of the given prompts; what a prompt's rows are does not depend on who holds it. Prompt 2 has nothing to tell."""
    rows = [torch.arange(1, 4 + p) for p in prompts]
    ids, lengths, rewards = [], [], []
    for p in prompts:
        g = torch.Generator().manual_seed(p)
        ids.append(torch.randint(1, 32, (GROUP, 5), generator=g))
        lengths.append(torch.randint(1, 6, (GROUP,), generator=g))
        rewards.append(torch.zeros(GROUP) if p == 2 else torch.rand(GROUP, generator=g))
    mask = torch.arange(5) < torch.cat(lengths)[:, None]
    zeros = torch.zeros(mask.shape)
    truncated = torch.zeros(len(mask), dtype=torch.bool)
    return Rollouts(pad_ids(rows, 0, "left"), [], [], [], torch.cat(ids), mask, zeros, truncated, torch.stack(rewards).double(), {}, {})


def gradients(accelerator, prompts, **options):
    """(loss, gradients) of an update on these prompts."""
    config = TWGRPOConfig(name="rl", mixture={}, steps=1, batch_size=4, num_generations=GROUP, max_new_tokens=5, **options)
    stage = TWGRPOStage(config)
    stage.context = StageContext(SimpleNamespace(dtype="float32"), model(), None, None, accelerator, None)
    stage.objective = Objective(stage.loss, stage.weighting, {})
    loss = stage._update([stage._judge(rollouts(prompts))])["loss"]
    return loss, [p.grad for p in stage.context.model.parameters()]


def supervised(accelerator, rows):
    """Losses and gradients of two supervised steps on these rows; of two, the first has an image and the other does not."""
    torch.manual_seed(0)
    image = {"encoder": {"name": "conv", "size": 16, "width": 16, "depth": 1, "heads": 2}, "token_id": 1}
    net = FocalModel(FocalConfig(llm=model().config.llm, streams={"image": image}))
    context = StageContext(SimpleNamespace(dtype="float32"), net, None, None, accelerator, None)
    ids = torch.tensor([[5, 1, 1, 1, 1, 6, 7], [8, 9, 10, 11, 12, 13, 14]])[rows]
    labels = torch.tensor([[-100] * 5 + [6, 7], [-100] * 2 + [10, 11, 12, 13, 14]])[rows]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if 0 in rows:
        pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        batch |= {"image_features": pixels, "image_rows": torch.tensor([0])}
    shared_net, losses = context.prepare(net), []
    for step in range(2):
        net.zero_grad()
        losses.append(supervised_step(shared_net, context, batch, step))
    return losses, {name: p.grad for name, p in net.named_parameters()}


def main():
    shared = build_accelerator()
    metrics, found = supervised(shared, [shared.process_index])
    expected_metrics, expected = supervised(ALONE, [0, 1])
    assert [m["tokens"] for m in metrics] == [m["tokens"] for m in expected_metrics] == [7, 7]
    assert all(abs(a["loss"] - b["loss"]) < 1e-6 for a, b in zip(metrics, expected_metrics, strict=True))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)
    for share in ([[0, 1], [2]], [[1, 2], [0, 3]]):
        everyone = [p for half in share for p in half]
        for options in OPTIONS:
            loss, found = gradients(shared, share[shared.process_index], **options)
            if options.get("loss") == "bnpo":  # a mean per call is another loss when calls are cut elsewhere
                assert all(torch.isfinite(g).all() for g in found if g is not None)
                continue
            expected_loss, expected = gradients(ALONE, everyone, **options)
            assert abs(loss - expected_loss) < 1e-6, (options, loss, expected_loss)
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)
    loss, found = gradients(shared, [2])
    assert loss == 0.0 and all(g is None for g in found)  # nobody has anything to tell
    context = StageContext(None, None, None, None, shared, None)
    assert context.agree(True) and not context.agree(shared.is_main_process)
    assert context.mean_of({"a": float(shared.process_index), "b": 2.0}) == {"a": 0.5, "b": 2.0}
    print(f"process {shared.process_index} of {shared.num_processes}: ok", flush=True)


if __name__ == "__main__":
    main()
