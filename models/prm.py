"""A process reward model: the reasoner with a two-way head, read at a placeholder token behind every step of a solution.

One pass judges all steps. Labels never enter the context, so no step can read the verdict on an earlier one; the teacher-forced form (`prm_form`),
in which they do, is there for comparison. A second, scalar head tells the value of a prompt (the policy's pass rate) and of a whole solution.

To see that a step says the wrong thing, a head must compare it with what should stand there, which a small model learns only after very many steps.
Its language-model head knows it from the start: with `prm_likelihood` the judge also reads how likely the model itself finds what was said.
Shape legend: B prompts, N solutions, T columns, R columns of solutions behind their prompts, P placeholders of the batch, d width.
"""

import copy
import re
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from .logprob import chosen_logps
from .lora import add_lora, merge_lora
from .modeling import FocalModel

FORMS = ("placeholder", "teacher_forced")
FLOOR = -20.0  # log-probabilities count down to here


class Evidence(NamedTuple):
    """How likely what was said so far is: the sum of its tokens' log-probabilities [N], and the least of them [N]."""

    total: Tensor
    least: Tensor


class FocalPRM(FocalModel):
    """`config.step_token_id` is the placeholder; class 1 of the head means right up to here. `config.prm_form` is `placeholder`, or
    `teacher_forced`: then the placeholder predicts which of `config.step_label_ids` (of `-` and of `+`) follows, and the label does follow.
    `config.prm_likelihood` adds the likelihood of the solution, whose first token is `config.solution_token_id`, to what the judge reads."""

    def __init__(self, config):
        if getattr(config, "step_token_id", None) is None:
            raise ValueError("a process reward model needs step_token_id in its configuration: the placeholder behind every step")
        form, labels = getattr(config, "prm_form", "placeholder"), getattr(config, "step_label_ids", None)
        if form not in FORMS:
            raise ValueError(f"prm_form: {form!r} is not one of {', '.join(FORMS)}")
        if form == "teacher_forced" and (not labels or len(labels) != 2):
            raise ValueError("prm_form teacher_forced needs step_label_ids: the tokens of - and of +")
        if form == "teacher_forced" and getattr(config, "prm_likelihood", False):
            raise ValueError("prm_likelihood goes with prm_form placeholder: the teacher-forced form is the model's likelihood of a label")
        super().__init__(config)
        width = self.llm.get_input_embeddings().embedding_dim
        self.judge = nn.Linear(width, 2)
        self.value_head = nn.Linear(width, 1)
        if getattr(config, "prm_likelihood", False):
            self.likelihood = nn.Linear(3, 1)

    @classmethod
    def from_policy(
        cls,
        policy: FocalModel,
        step_token_id: int,
        form: str = "placeholder",
        label_ids: list[int] | None = None,
        lora: dict | None = None,
        layers: int | None = None,
        solution_token_id: int | None = None,
    ) -> "FocalPRM":
        """A PRM that starts from a policy's weights; its heads start at zero, so that every step starts at 0.5. With `solution_token_id`, the first
        token of every solution, it reads likelihoods too, and starts as a judge of these.

        `lora` (see `lora.add_lora`): the backbone stays the policy's, only adapters and heads learn. A policy that has adapters of its own keeps
        them, unless `lora` asks for new ones: then they are merged first. `layers`: a smaller PRM of the policy's first layers alone.
        """
        if lora is not None:
            policy = merge_lora(copy.deepcopy(policy))
        extra = {"step_token_id": step_token_id, "prm_form": form, "step_label_ids": label_ids}
        if solution_token_id is not None:
            extra |= {"prm_likelihood": True, "solution_token_id": solution_token_id}
        stored, weights = policy.config.to_dict() | extra, policy.state_dict()
        if layers is not None:
            stored["llm"] = fewer_layers(policy.config.llm_config().to_dict(), layers)
            weights = {name: tensor for name, tensor in weights.items() if _layer(name) < layers}
        model = cls(type(policy.config).from_dict(stored))
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected and all(name.startswith(("judge.", "value_head.", "likelihood.")) for name in missing), (missing, unexpected)
        for head in (model.judge, model.value_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if solution_token_id is not None:
            nn.init.constant_(model.likelihood.weight, 0.3)
            nn.init.ones_(model.likelihood.bias)
        if lora is not None:
            add_lora(model, lora)
        return model

    def judge_marks(self, ids: Tensor, hidden: Tensor, before: Tensor, evidence: Evidence | None = None) -> tuple[Tensor, Evidence | None]:
        """Logits [P, 2] (wrong, right up to here) of the placeholders in `ids` [N, R] with hidden states [N, R, d], in reading order.

        `before` [N, d]: the hidden states that each row continues; `evidence`: of what stands before, where rows go on with a solution. The second
        value is the evidence behind the rows (None without `prm_likelihood`); it holds for rows that end with a placeholder.
        """
        marks = ids == self.config.step_token_id
        if getattr(self.config, "prm_form", "placeholder") == "teacher_forced":
            return self.logits(hidden[marks])[..., self.config.step_label_ids], None
        logits = self.judge(hidden[marks])
        if not getattr(self.config, "prm_likelihood", False):
            return logits, None
        if not bool(marks.any()):
            return logits, evidence
        own, steps, evidence = self._evidence(ids, marks, hidden, before, evidence)
        belief = self.likelihood(steps[own].to(logits.dtype))
        return torch.cat([logits[:, :1], logits[:, 1:] + belief], 1), evidence

    def _evidence(self, ids: Tensor, marks: Tensor, hidden: Tensor, before: Tensor, evidence: Evidence | None) -> tuple[Tensor, Tensor, Evidence]:
        """Which of S steps each row has [N, S], for each the total and the least log-probability so far and its own least [N, S, 3], and the evidence
        behind each row. Only what stands behind the last `solution_token_id` of a row counts, or all of a row that has none."""
        previous = torch.cat([before[:, None], hidden[:, :-1]], 1)
        logps = chosen_logps(previous.flatten(0, 1), self.head, ids.flatten())[0].view(ids.shape)
        start = (ids == self.config.solution_token_id).flip(1).cumsum(1).flip(1) > 0  # up to the last first token, it included
        logps = logps.clamp(min=FLOOR).masked_fill(marks | start, 0.0)
        counts = marks.sum(1)
        size = int(counts.max()) + 1
        place = (marks.cumsum(1) - marks.long()).clamp(max=size - 1)
        total = logps.new_zeros(len(ids), size).scatter_add(1, place, logps)[:, : size - 1].cumsum(1)
        own_least = logps.new_zeros(len(ids), size).scatter_reduce(1, place, logps, "amin")[:, : size - 1]
        least = own_least.cummin(1).values
        if evidence is not None:
            total, least = total + evidence.total[:, None], torch.minimum(least, evidence.least[:, None])
        own = torch.arange(size - 1, device=ids.device) < counts[:, None]
        last = (counts - 1).clamp(min=0)[:, None]
        old = evidence or Evidence(logps.new_zeros(len(ids)), logps.new_zeros(len(ids)))
        some = counts > 0
        behind = Evidence(torch.where(some, _pick(total, last), old.total), torch.where(some, _pick(least, last), old.least))
        return own, torch.stack([total.clamp(min=FLOOR), least, own_least], -1), behind

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media) -> Tensor:
        """Logits [P, 2] of all placeholders of the batch, in reading order."""
        hidden = self.hidden_states(input_ids, attention_mask, media.pop("encoded", None), None, **media)
        return self.judge_marks(input_ids, hidden, hidden[:, 0])[0]

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


def _pick(values: Tensor, places: Tensor) -> Tensor:
    """One value of each row of [N, S], zeros where there are none."""
    return values.gather(1, places)[:, 0] if values.shape[1] else values.new_zeros(len(values))


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
