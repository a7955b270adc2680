"""A process reward model: the reasoner with a two-way head, read at a placeholder token behind every step of a solution.

One pass judges all steps. Labels never enter the context, so no step can read the verdict on an earlier one. Shape legend: B solutions, T
columns, S steps, d width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .modeling import FocalModel


class FocalPRM(FocalModel):
    """`config.step_token_id` is the placeholder; class 1 of the head means right up to here."""

    def __init__(self, config):
        if getattr(config, "step_token_id", None) is None:
            raise ValueError("a process reward model needs step_token_id in its configuration: the placeholder behind every step")
        super().__init__(config)
        self.judge = nn.Linear(self.llm.get_input_embeddings().embedding_dim, 2)

    @classmethod
    def from_policy(cls, policy: FocalModel, step_token_id: int) -> "FocalPRM":
        """A PRM that starts from a policy's weights; its head starts at zero, so that every step starts at 0.5."""
        config = type(policy.config).from_dict(policy.config.to_dict() | {"step_token_id": step_token_id})
        model = cls(config)
        model.load_state_dict(policy.state_dict(), strict=False)
        nn.init.zeros_(model.judge.weight)
        nn.init.zeros_(model.judge.bias)
        return model

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media) -> Tensor:
        """Logits [P, 2] of all placeholders of the batch, in reading order."""
        hidden = self.hidden_states(input_ids, attention_mask, media.pop("encoded", None), None, **media)
        return self.judge(hidden[input_ids == self.config.step_token_id])

    @torch.no_grad()
    def step_scores(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media) -> list[list[float]]:
        """Probability that the solution is right up to each step, per row."""
        probabilities = self.step_logits(input_ids, attention_mask, **media).float().softmax(-1)[:, 1].tolist()
        counts = (input_ids == self.config.step_token_id).sum(1).tolist()
        scores, start = [], 0
        for count in counts:
            scores.append(probabilities[start : start + count])
            start += count
        return scores


def step_loss(logits: Tensor, targets: Tensor, balance: float = 1.0) -> Tensor:
    """Mean cross-entropy over supervised steps. logits [P, 2]; targets [P] in [0, 1], soft or hard, NaN where a step has no label; `balance`
    weighs wrong steps."""
    known = ~torch.isnan(targets)
    if not bool(known.any()):
        return logits.sum() * 0.0
    logits, targets = logits[known].float(), targets[known].float()
    weights = 1 + (balance - 1) * (1 - targets)
    log_p = F.log_softmax(logits, -1)
    losses = -(targets * log_p[:, 1] + (1 - targets) * log_p[:, 0])
    return (weights * losses).sum() / weights.sum()


FocalPRM.register_for_auto_class("AutoModel")
