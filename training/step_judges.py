"""A judge names the first wrong step of a solution. Any checkpoint can be one: a process reward model by its scores, a reasoner by its answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import protocol
from data.critiques import critique, read_critique
from data.drawn_solutions import Drawn
from data.worlds.base import Sample
from training.prm_batches import score_solutions


def load_judge(folder: str, threshold: float, instruction: str = "") -> "ScoreJudge | AnswerJudge":
    """The judge of a checkpoint folder; one that holds no checkpoint of ours is a `ValueError` naming it."""
    import torch

    from models.modeling import FocalModel
    from models.prm import FocalPRM
    from models.processing import FocalProcessor

    config = Path(folder) / "config.json"
    if not config.is_file():
        raise ValueError(f"labels.judge: no Focal checkpoint at {folder}: config.json is missing")
    scores = json.loads(config.read_text()).get("step_token_id") is not None
    model = (FocalPRM if scores else FocalModel).from_pretrained(folder, dtype=torch.float32).eval()
    processor = FocalProcessor.from_pretrained(folder)
    return ScoreJudge(model, processor, threshold, instruction) if scores else AnswerJudge(model, processor, instruction)


def prompt_text(processor: Any, record: Any, instruction: str) -> str:
    return processor.tokenizer.apply_chat_template(protocol.messages(record, instruction), add_generation_prompt=True, tokenize=False)


class ScoreJudge:
    """A process reward model: the first step that scores below the threshold is wrong."""

    unreadable = 0

    def __init__(self, model: Any, processor: Any, threshold: float, instruction: str = "", micro_tokens: int = 1 << 14):
        self.model, self.processor, self.threshold = model, processor, threshold
        self.instruction, self.micro_tokens = instruction, micro_tokens

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Drawn]) -> list[int | None]:
        """The first wrong step of each solution, None where every step passes. samples: by the solutions' owners."""
        if not drawn:
            return []
        encoded = [self.processor.encode(prompt_text(self.processor, s.record, self.instruction), s.media) for s in samples]
        device = next(self.model.parameters()).device
        scores = score_solutions(self.model, dict(self.processor.collate(encoded, "left")), self.processor, drawn, self.micro_tokens, device)
        steps = (row[: len(d.solution.steps)] for row, d in zip(scores, drawn, strict=True))
        return [next((i for i, score in enumerate(row) if score < self.threshold), None) for row in steps]


class AnswerJudge:
    """A reasoner that is asked (`data.critiques`), greedily. What cannot be read is counted in `unreadable`, and is no finding of an error."""

    def __init__(self, model: Any, processor: Any, instruction: str = "", max_new_tokens: int = 64):
        self.model, self.processor, self.instruction, self.max_new_tokens = model, processor, instruction, max_new_tokens
        self.unreadable = 0

    def __call__(self, samples: Sequence[Sample], drawn: Sequence[Drawn]) -> list[int | None]:
        """As `ScoreJudge`."""
        from models.sampler import sample

        if not drawn:
            return []
        tokenizer = self.processor.tokenizer
        questions = [(critique(d.solution), samples[d.owner].media) for d in drawn]
        rows = [self.processor.encode(prompt_text(self.processor, record, self.instruction), media) for record, media in questions]
        device = next(self.model.parameters()).device
        batch = {k: v.to(device) for k, v in self.processor.collate(rows, "left").items()}
        stop = [tokenizer.convert_tokens_to_ids(protocol.END)]
        said = sample(self.model, batch, self.max_new_tokens, stop_ids=stop, pad_id=tokenizer.pad_token_id)
        texts = tokenizer.batch_decode([ids[:n].tolist() for ids, n in zip(said.ids, said.lengths.tolist(), strict=True)])
        found = []
        for text, d in zip(texts, drawn, strict=True):
            error, readable = read_critique(protocol.parse(text).answer, len(d.solution.steps))
            self.unreadable += not readable
            found.append(error)
        return found
