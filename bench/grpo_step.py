"""A whole GRPO step on text prompts, against TRL's GRPOTrainer with the same weights, prompts, reward, loss and optimiser."""

import contextlib
import copy
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from bench import reasoner
from bench.harness import Comparison, Setting, close
from models.configuration import FocalConfig
from models.modeling import FocalModel
from models.sampler import sample
from training.advantages import group_advantages
from training.losses import DAPO
from training.rollout import Rollouts
from training.update import Objective, Part, Weighting, accumulate, cut

GROUP, LR, CLIP = 8, 1e-6, 1.0


def grpo_step(setting: Setting) -> Comparison:
    """A whole GRPO step (rollout, reward, update) on text prompts, against TRL GRPOTrainer on the same tiny model and batch."""
    prompts, length, new = setting.pick((2, 12, 6), (4, 512, 64), (4, 512, 256))
    torch.manual_seed(setting.seed)
    model = FocalModel(FocalConfig(llm=reasoner.llm_config(setting))).to(setting.device)
    ids = reasoner.text_ids(setting, (prompts, length), model.llm.config.vocab_size)
    tokenizer = numbered_tokenizer(model.llm.config.vocab_size)
    texts = tokenizer.batch_decode(ids)
    trainer = trl_trainer(setting, copy.deepcopy(model.llm), tokenizer, texts, new)
    optimizer = torch.optim.AdamW(model.parameters(), LR)
    mine = FocalStep(model, optimizer, tokenizer, texts, new, setting)
    rows = [{"prompt": text} for text in texts for _ in range(GROUP)]

    def peer() -> None:
        trainer.training_step(trainer.model, rows, None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), CLIP)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    def same(*_) -> str:
        """Both losses on TRL's own rollouts, from TRL's weights."""
        model.llm.load_state_dict(trainer.model.state_dict())
        drawn = trainer._generate_and_score_completions(rows)
        trainer.compute_loss(trainer.model, drawn).backward()
        theirs = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        trainer.model.zero_grad()
        batch = {"input_ids": drawn["prompt_ids"][::GROUP], "attention_mask": drawn["prompt_mask"][::GROUP]}
        mine.update(batch, drawn["completion_ids"], drawn["completion_mask"].bool(), drawn["advantages"].view(prompts, GROUP))
        found = torch.cat([p.grad.flatten() for p in model.llm.parameters()])
        model.zero_grad()
        # On a GPU both forward in bfloat16, in batches of another shape: three digits of every activation.
        return close(found, theirs, 5e-2 if setting.gpu else 1e-4, "gradients on TRL's rollouts")

    sizes = {"prompts": prompts, "G": GROUP, "prompt tokens": length, "new tokens": new, "loss": "dapo", **reasoner.shape(model)}
    return Comparison(
        mine.step, peer, "TRL GRPOTrainer", same, sizes, goals={"time": 3.0 if setting.gpu else 5.0}, work=(prompts * GROUP * new,) * 2,
        unit="completion tokens",
    )  # fmt: skip


class FocalStep:
    """Our step: rollout -> rewards -> advantages -> loss -> optimiser."""

    def __init__(self, model: FocalModel, optimizer: torch.optim.Optimizer, tokenizer: Any, texts: list[str], new: int, setting: Setting):
        self.model, self.optimizer, self.tokenizer, self.texts, self.new = model, optimizer, tokenizer, texts, new
        self.count, self.setting = 0, setting

    def autocast(self) -> contextlib.AbstractContextManager:
        """As TRL with `bf16`: float32 weights, forwarded in bfloat16 on a GPU."""
        return torch.autocast(self.setting.device, torch.bfloat16) if self.setting.gpu else contextlib.nullcontext()

    def step(self) -> None:
        device = self.model.device
        batch = dict(self.tokenizer(self.texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False).to(device))
        self.count += 1
        seeds = range(self.count << 20, (self.count << 20) + len(self.texts) * GROUP)
        with self.autocast():
            drawn = sample(
                self.model, batch, self.new, stop_ids=[reasoner.END], pad_id=reasoner.PAD, temperature=1.0, num_samples=GROUP, seeds=seeds
            )  # fmt: skip
        mask = torch.arange(drawn.ids.shape[1], device=device) < drawn.lengths[:, None]
        said = [ids[:n] for ids, n in zip(drawn.ids.tolist(), drawn.lengths.tolist(), strict=True)]
        rewards = torch.tensor(even_share(self.tokenizer.batch_decode(said, skip_special_tokens=True)), device=device)
        self.update(batch, drawn.ids, mask, group_advantages(rewards.view(-1, GROUP)))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def update(self, batch: dict, ids: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor) -> None:
        """Leaves the gradients of the DAPO loss on the model."""
        self.model.train()
        zeros = torch.zeros(ids.shape, device=ids.device)
        rollouts = Rollouts(batch, [], [], [], ids, mask, zeros, zeros[:, 0], advantages, {}, {})
        part = Part(rollouts, advantages, mask, list(range(len(advantages))))
        options = {"epsilon_low": 0.2, "epsilon_high": 0.2}
        scale = {"denominator": float(mask.sum()), "num_sequences": len(ids), "max_completion_length": self.new, "groups": len(advantages)}
        accumulate(self.model, cut([part], 1 << 15), Objective(DAPO, Weighting(None), options, autocast=self.autocast), scale, None)


def even_share(completions: Sequence[str], **_) -> list[float]:
    """The reward of both sides: the share of even numbers."""
    return [sum(int(word[1:]) % 2 == 0 for word in text.split()) / max(1, len(text.split())) for text in completions]


def numbered_tokenizer(vocab: int) -> Any:
    """Token i is the word `ti`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocab)}, unk_token=f"t{reasoner.VIDEO}"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=f"t{reasoner.PAD}", eos_token=f"t{reasoner.END}", padding_side="left")


def trl_trainer(setting: Setting, llm: Any, tokenizer: Any, texts: list[str], new: int) -> Any:
    """A GRPOTrainer that takes whole steps one by one. Kinder than its defaults: no gradient checkpointing, and on a CPU no bfloat16."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=len(texts) * GROUP, num_generations=GROUP, max_completion_length=new,
        learning_rate=LR, beta=0.0, loss_type="dapo", temperature=1.0, bf16=setting.gpu, gradient_checkpointing=False, report_to=[],
        use_cpu=not setting.gpu, seed=setting.seed, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(llm, even_share, args=config, train_dataset=Dataset.from_dict({"prompt": texts}), processing_class=tokenizer)
    trainer.create_optimizer_and_scheduler(1_000_000)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer
