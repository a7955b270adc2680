"""From labelled solutions to what a process reward model learns from: prompts read once, their solutions behind them, one target per placeholder.

Shape legend: B prompts of a part, N solutions, R columns of a solution, P placeholders.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from configs.schema import LoraSettings
from data import protocol
from data.drawn_solutions import Drawn
from data.solutions import mark_steps
from data.step_labels import supervised


@dataclasses.dataclass
class Part:
    """What one forward pass holds. batch: left-padded prompts with their media; ids [N, R] right-padded; owners [N]: the prompt of each; targets [P]
    (NaN: no label) with their counts and weights [P]; last [N]: which placeholder is the answer's (the last step's, where a stored solution has
    none); right [N]: is it right; sound [N]: is it right throughout; pass_rates [B] of the prompts, where they are known."""

    batch: dict[str, Tensor]
    ids: Tensor
    owners: Tensor
    targets: Tensor
    counts: Tensor
    last: Tensor
    right: Tensor
    sound: Tensor
    pass_rates: Tensor
    weights: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0))


def label_token_ids(tokenizer: Any) -> list[int]:
    """The tokens of `-` and `+`; a tokenizer that writes one of them in several tokens is a `ValueError`."""
    pieces = [tokenizer(sign, add_special_tokens=False)["input_ids"] for sign in "-+"]
    if any(len(piece) != 1 for piece in pieces):
        raise ValueError("form teacher_forced needs a tokenizer that writes + and - as one token each: use form placeholder")
    return [piece[0] for piece in pieces]


def build_prm(
    policy: Any, tokenizer: Any, form: str = "placeholder", lora: LoraSettings | None = None, layers: int | None = None, likelihood: bool = False
) -> Any:
    """A PRM that starts from the policy. A tokenizer without the protocol's placeholder is a `ValueError`."""
    from models.prm import FocalPRM

    step = tokenizer.convert_tokens_to_ids(protocol.STEP)
    if step is None or step == tokenizer.unk_token_id:
        raise ValueError(f"the tokenizer has no {protocol.STEP}: the policy was not made with this protocol")
    start = tokenizer.convert_tokens_to_ids(protocol.THINK) if likelihood else None
    if likelihood and (start is None or start == tokenizer.unk_token_id):
        raise ValueError(f"likelihood needs a tokenizer that has {protocol.THINK} as one token")
    labels = label_token_ids(tokenizer) if form == "teacher_forced" else None
    return FocalPRM.from_policy(policy, step, form, labels, None if lora is None else lora.model_dump(), layers, start)


def cut_parts(batch: dict[str, Tensor], drawn: Sequence[Drawn], micro_tokens: int) -> list[list[Drawn]]:
    """The solutions in parts of at most about `micro_tokens` positions, those of a prompt together, prompts of like length together. Follows from
    the recipe, never from free memory. batch: the prompts that the solutions' owners count in."""
    lengths = batch["attention_mask"].sum(1).tolist()
    by_owner: dict[int, list[Drawn]] = {}
    for d in drawn:
        by_owner.setdefault(d.owner, []).append(d)
    parts: list[list[Drawn]] = []
    size = 0
    for owner in sorted(by_owner, key=lambda o: (lengths[o], o)):
        cost = int(lengths[owner]) + sum(_words(d) for d in by_owner[owner])
        if not parts or size + cost > micro_tokens:
            parts.append([])
            size = 0
        parts[-1] += by_owner[owner]
        size += cost
    return [sorted(part, key=lambda d: d.owner) for part in parts]


def _words(drawn: Drawn) -> int:
    """About how many tokens a solution has with its placeholders: three a word, tags apart."""
    return 6 + sum(2 + 2 * len(step.split()) for step in drawn.solution.steps)


def encode_part(
    batch: dict[str, Tensor], processor: Any, drawn: Sequence[Drawn], supervise: str = "all", form: str = "placeholder", rates: Sequence[float] = ()
) -> Part:
    """One part, ready for `FocalPRM.hidden_behind`. drawn: by ascending owner; rates: the pass rate of each prompt of the batch, where known."""
    from models.processing import pad_ids
    from models.sampler import take_prompts

    tokenizer = processor.tokenizer
    step_id = tokenizer.convert_tokens_to_ids(protocol.STEP)
    prompts = sorted({d.owner for d in drawn})
    forced = form == "teacher_forced"
    texts = [mark_steps(d.solution.parsed, d.solution.labels if forced else None, partial=d.solution.answer is None) for d in drawn]
    rows = [torch.tensor(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    if forced:
        check_forced(rows, step_id, label_token_ids(tokenizer))
    targets, counts, last = [], [], []
    for d, row in zip(drawn, rows, strict=True):
        goal = supervised(d.solution.labels, d.solution.kinds, supervise)
        assert int((row == step_id).sum()) == len(goal), "one placeholder per label"
        targets += [float("nan") if label is None else float(label) for label in goal]
        counts += [d.count] * len(goal)
        last.append(len(targets) - 1)
    place = {owner: i for i, owner in enumerate(prompts)}
    return Part(
        trim_left(take_prompts(batch, prompts)), pad_ids(rows, tokenizer.pad_token_id, "right")["input_ids"],
        torch.tensor([place[d.owner] for d in drawn]), torch.tensor(targets), torch.tensor(counts), torch.tensor(last),
        torch.tensor([(d.solution.labels[-1] or 0) >= 0.5 for d in drawn]),
        torch.tensor([d.solution.source == "gold" or all(label == 1 for label in d.solution.labels) for d in drawn]),
        torch.tensor([rates[p] for p in prompts] if rates else []),
    )  # fmt: skip


def check_forced(rows: Sequence[Tensor], step_id: int, label_ids: Sequence[int]) -> None:
    """In the teacher-forced form every placeholder must be followed by exactly a label's token, whatever the tokenizer makes of `+` and its
    neighbours."""
    for row in rows:
        behind = row[(row == step_id).nonzero()[:, 0] + 1]
        if not bool(torch.isin(behind, torch.tensor(label_ids)).all()):
            raise ValueError("form teacher_forced: the tokenizer joins a label with what stands behind it: use form placeholder")


def trim_left(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Left-padded prompts without the columns that are padding in every row."""
    first = int(batch["attention_mask"].any(0).nonzero()[0])
    return batch | {key: batch[key][:, first:] for key in ("input_ids", "attention_mask")}


def weigh_parts(parts: Sequence[Part], balance: float | str) -> float:
    """Give every part the weights of its placeholders, balanced over all parts; returns their sum."""
    from models.prm import step_weights

    weights = step_weights(torch.cat([p.targets for p in parts]), balance, torch.cat([p.counts for p in parts]))
    for part, mine in zip(parts, weights.split([len(p.targets) for p in parts]), strict=True):
        part.weights = mine
    return float(weights.sum())


def count_part(part: Part, logits: Tensor, totals: dict[str, float]) -> None:
    """Add what a part's logits [P, 2] say of its labels to the step's totals, each solution as often as it was drawn."""
    known, counts = ~torch.isnan(part.targets), part.counts.float()
    goal, logits = part.targets.nan_to_num(0.0), logits.float().cpu()
    agrees = ((logits[:, 1] > logits[:, 0]) == (goal >= 0.5)).float()
    tokens = float(part.batch["attention_mask"].sum() + part.ids.numel())
    sums = {
        "labels": (known * counts).sum(), "accuracy": (agrees * known * counts).sum(),
        "share_right": (goal * known * counts).sum(), "unmeasured": (~known * counts).sum(), "placeholders": counts.sum(), "tokens": tokens,
    }  # fmt: skip
    for key, value in sums.items():
        totals[key] = totals.get(key, 0.0) + float(value)


def score_solutions(
    prm: Any, batch: dict[str, Tensor], processor: Any, drawn: Sequence[Drawn], micro_tokens: int, device: torch.device
) -> list[list[float]]:
    """Scores of every placeholder of each solution, in the order of `drawn`. The teacher-forced form reads `+` behind every earlier step."""
    form = getattr(prm.config, "prm_form", "placeholder")
    scores: dict[int, list[float]] = {}
    for members in cut_parts(batch, drawn, micro_tokens):
        shown = [dataclasses.replace(d, solution=dataclasses.replace(d.solution, labels=[1] * len(d.solution.labels))) for d in members]
        part = encode_part(batch, processor, shown, form=form)
        ids, owners = part.ids.to(device), part.owners.to(device)
        with torch.no_grad():
            ends, hidden = prm.hidden_behind({k: v.to(device) for k, v in part.batch.items()}, ids, owners)
            logits, _ = prm.judge_marks(ids, hidden, ends.index_select(0, owners))
        for d, row in zip(members, prm.split_scores(logits, ids), strict=True):
            scores[id(d)] = row
    return [scores[id(d)] for d in drawn]
