"""A process reward model: the reasoner with a two-way head, read at a placeholder token behind every step of a solution.

One pass judges all steps. Labels never enter the context, so no step can read the verdict on an earlier one; the teacher-forced form (`prm_form`),
in which they do, is there for comparison. A second, scalar head tells the value of a prompt (the policy's pass rate) and of a whole solution.
Shape legend: B prompts, N solutions, T columns, R columns of solutions behind their prompts, P placeholders of the batch, d width.
"""

import copy
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from .lora import add_lora, merge_lora
from .modeling import FocalModel

FORMS = ("placeholder", "teacher_forced")


class FocalPRM(FocalModel):
    """`config.step_token_id` is the placeholder; class 1 of the head means right up to here. `config.prm_form` is `placeholder`, or
    `teacher_forced`: then the placeholder predicts which of `config.step_label_ids` (of `-` and of `+`) follows, and the label does follow."""

    def __init__(self, config):
        if getattr(config, "step_token_id", None) is None:
            raise ValueError("a process reward model needs step_token_id in its configuration: the placeholder behind every step")
        form, labels = getattr(config, "prm_form", "placeholder"), getattr(config, "step_label_ids", None)
        if form not in FORMS:
            raise ValueError(f"prm_form: {form!r} is not one of {', '.join(FORMS)}")
        if form == "teacher_forced" and (not labels or len(labels) != 2):
            raise ValueError("prm_form teacher_forced needs step_label_ids: the tokens of - and of +")
        super().__init__(config)
        width = self.llm.get_input_embeddings().embedding_dim
        self.judge = nn.Linear(width, 2)
        self.value_head = nn.Linear(width, 1)

    @classmethod
    def from_policy(
        cls,
        policy: FocalModel,
        step_token_id: int,
        form: str = "placeholder",
        label_ids: list[int] | None = None,
        lora: dict | None = None,
        layers: int | None = None,
    ) -> "FocalPRM":
        """A PRM that starts from a policy's weights; its heads start at zero, so that every step starts at 0.5.

        `lora` (see `lora.add_lora`): the backbone stays the policy's, only adapters and heads learn. A policy that has adapters of its own keeps
        them, unless `lora` asks for new ones: then they are merged first. `layers`: a smaller PRM of the policy's first layers alone.
        """
        if lora is not None:
            policy = merge_lora(copy.deepcopy(policy))
        extra = {"step_token_id": step_token_id, "prm_form": form, "step_label_ids": label_ids}
        stored, weights = policy.config.to_dict() | extra, policy.state_dict()
        if layers is not None:
            stored["llm"] = fewer_layers(policy.config.llm_config().to_dict(), layers)
            weights = {name: tensor for name, tensor in weights.items() if _layer(name) < layers}
        model = cls(type(policy.config).from_dict(stored))
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected and all(name.startswith(("judge.", "value_head.")) for name in missing), (missing, unexpected)
        for head in (model.judge, model.value_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if lora is not None:
            add_lora(model, lora)
        return model

    def judge_logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., 2] (wrong, right up to here) of hidden states [..., d] at placeholders."""
        if getattr(self.config, "prm_form", "placeholder") == "teacher_forced":
            return self.logits(hidden)[..., self.config.step_label_ids]
        return self.judge(hidden)

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media) -> Tensor:
        """Logits [P, 2] of all placeholders of the batch, in reading order."""
        hidden = self.hidden_states(input_ids, attention_mask, media.pop("encoded", None), None, **media)
        return self.judge_logits(hidden[input_ids == self.config.step_token_id])

    @torch.no_grad()
    def step_scores(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media) -> list[list[float]]:
        """Probability that the solution is right up to each step, per row."""
        return self.split_scores(self.step_logits(input_ids, attention_mask, **media), input_ids)

    def split_scores(self, logits: Tensor, ids: Tensor) -> list[list[float]]:
        """Logits [P, 2] of the placeholders in `ids` [N, R] as probabilities per row."""
        probabilities = logits.float().softmax(-1)[:, 1].tolist()
        scores, start = [], 0
        for count in (ids == self.config.step_token_id).sum(1).tolist():
            scores.append(probabilities[start : start + count])
            start += count
        return scores

    def hidden_behind(self, batch: dict[str, Tensor], ids: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """(hidden states [B, d] at the end of each prompt, [N, R, d] of the solutions behind them), with gradient.

        `batch`: left-padded prompts with their media; `ids` [N, R]: right-padded solutions; `owners` [N]: the prompt of each. Every prompt is read
        once, however many solutions stand behind it: B T + N R positions instead of N (T + R).
        """
        cache = DynamicCache()
        last = self.hidden_states(**batch, cache=cache)[:, -1]
        self.take_rows(cache, owners)
        return last, self.decode(ids, cache)

    def values(self, hidden: Tensor) -> Tensor:
        """Logits [...] of the value: at the end of a prompt, of the policy's pass rate; at a solution's last placeholder, of a right answer."""
        return self.value_head(hidden)[..., 0]


def fewer_layers(llm: dict, layers: int) -> dict:
    """An LLM's configuration with its first layers alone; more than it has, or none, is a `ValueError`."""
    if not 1 <= layers <= llm["num_hidden_layers"]:
        raise ValueError(f"layers: {layers} is not between 1 and the policy's {llm['num_hidden_layers']}")
    kept = {"layer_types": llm["layer_types"][:layers]} if llm.get("layer_types") else {}
    return llm | kept | {"num_hidden_layers": layers}


def _layer(name: str) -> int:
    """The LLM layer that a parameter belongs to, -1 for those of none."""
    found = re.match(r"llm\.model\.layers\.(\d+)\.|media_keys\.\w+\.(\d+)\.", name)
    return int(found[1] or found[2]) if found else -1


def step_weights(targets: Tensor, balance: float | str = 1.0, counts: Tensor | None = None) -> Tensor:
    """Weights [P] of targets [P] in [0, 1] (0 where NaN: no label). `balance` weighs wrong steps, or is `equal`: right and wrong ones weigh the same
    in all. `counts` [P]: how often each step was drawn."""
    known = ~torch.isnan(targets)
    right = targets.nan_to_num(1.0)
    base = known.to(targets.dtype) if counts is None else known * counts.to(targets.dtype)
    if balance == "equal":
        good, bad = (base * right).sum(), (base * (1 - right)).sum()
        ratio = good / bad if bool((good > 0) & (bad > 0)) else 1.0
    else:
        ratio = float(balance)
    return base * (right + ratio * (1 - right))


def step_loss(
    logits: Tensor, targets: Tensor, balance: float | str = 1.0, *, weights: Tensor | None = None, denominator: Tensor | float | None = None
) -> Tensor:
    """Weighted mean cross-entropy over supervised steps. logits [P, 2]; targets [P] in [0, 1], soft or hard, NaN where a step has no label.

    `weights` [P] (default: `step_weights` of `balance`); `denominator`: their sum over the whole optimiser step where this is a part of it.
    """
    weights = step_weights(targets, balance) if weights is None else weights
    total = weights.sum() if denominator is None else denominator
    if not bool(weights.any()):
        return logits.sum() * 0.0
    log_p, right = F.log_softmax(logits.float(), -1), targets.nan_to_num(1.0).float()
    losses = -(right * log_p[:, 1] + (1 - right) * log_p[:, 0])
    return (weights * losses).sum() / total


def rank_loss(scores: Tensor, right: Tensor, groups: Tensor) -> Tensor:
    """How often, softly, a wrong solution of a prompt scores above a right one: mean of softplus(wrong - right) over the pairs of a prompt, then over
    the prompts that have both (0 without one). scores [N] (logits); right [N] bool; groups [N]: the prompt of each (PRM-BAS, arXiv 2504.10222, ranks
    likewise)."""
    pairs = (groups[:, None] == groups[None]) & right[:, None] & ~right[None]  # [right one, wrong one]
    count = torch.zeros(int(groups.max()) + 1 if len(groups) else 1, device=scores.device)
    count = count.index_add(0, groups, pairs.sum(1).to(count.dtype))
    if not bool(count.any()):
        return scores.sum() * 0.0
    losses = F.softplus(scores.float()[None] - scores.float()[:, None])
    return (losses * pairs / count[groups].clamp(min=1)[:, None]).sum() / (count > 0).sum()


FocalPRM.register_for_auto_class("AutoModel")
