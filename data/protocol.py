"""How a question is put to the model and how its completion is read: tags, step delimiter, prompt layout, and the one parser.

A completion is `<think>`, one step per line, `</think>`, `<answer>`, the answer, `</answer>`. Everything that reads one of our own completions
(verifiers, rewards, metrics, reports) goes through `parse`, once.
"""

import dataclasses
import re

from data.record import LETTERS, Record, answer_text

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
PLACEHOLDERS = {"audio": "<|audio|>", "image": "<|image|>", "video": "<|video|>", "frames": "<|video|>"}
STEP = "<|step|>"  # the position behind a step at which a process reward model is read
SPECIAL_TOKENS = (USER, ASSISTANT, END, *dict.fromkeys(PLACEHOLDERS.values()), STEP, THINK, END_THINK, ANSWER, END_ANSWER)
STEP_DELIMITER = "\n"
NO_OPTION = "none"  # the answer to a question of which no option is right

# The layout for models that bring no chat template of their own. Content comes in escaped, so a tag in it is always ours.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# Ours, and those that the tokenizers of the field's model families know; a template's own words are among them.
_FAMILIES = (
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|<(?:pad|bos|eos|unk|mask|cls|sep)>"
    r"|<(?:start|end)_of_\w{1,20}>|\[/?INST\]|<</?SYS>>|<(?:image|audio|video)>"
)
_SPECIAL = re.compile("|".join(re.escape(t) for t in SPECIAL_TOKENS) + "|" + _FAMILIES)
_COMPLETION = re.compile(r"\s*<think>(?P<steps>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """A completion taken apart. `answer` is None where there is none; `format_ok` means exactly one think and one answer tag, in order, nothing
    outside them, answer not empty. `reason` is `ok` or what is missing."""

    steps: list[str]
    answer: str | None
    format_ok: bool
    reason: str


def escape(text: str) -> str:
    """Break every special token that user text contains, so that text can never pose as a tag or as a medium: `<|image|>` becomes `< |image|>`.
    Escaping again changes nothing."""
    while _SPECIAL.search(text):  # once more where one stood inside another: `<|[INST]|>`
        text = _SPECIAL.sub(lambda m: f"{m.group()[0]} {m.group()[1:]}", text)
    return text


def one_line(text: str) -> str:
    """Escaped text without line breaks, which would make two steps or two options of one."""
    return " ".join(line.strip() for line in escape(text).splitlines() if line.strip())


def prompt(record: Record, instruction: str = "") -> str:
    """The user turn: one placeholder per medium in order, the question, the lettered options, the instruction (each on its own line)."""
    lines = ["".join(PLACEHOLDERS[m.kind] for m in record.media) + escape(record.question)]
    lines += [f"{LETTERS[i]}. {one_line(option)}" for i, option in enumerate(record.options or [])]
    if instruction:
        lines.append(instruction)
    return "\n".join(lines)


def messages(record: Record, instruction: str = "") -> list[dict[str, str]]:
    """The prompt as chat messages, for a tokenizer's `apply_chat_template(..., add_generation_prompt=True)`."""
    return [{"role": "user", "content": prompt(record, instruction)}]


def completion(record: Record, steps: bool = True, answer_with: str = "letter") -> str:
    """The gold completion, without the end-of-turn token. `steps=False` leaves the thought empty. A choice is answered with its `letter` or with the
    text of its `option` (MMAU and MathVista score that text); where no option is right, with `none`."""
    thought = STEP_DELIMITER.join(one_line(s.text) for s in record.steps or []) if steps else ""
    return f"{THINK}{thought}{END_THINK}{ANSWER}{escape(gold_answer(record, answer_with))}{END_ANSWER}"


def gold_answer(record: Record, answer_with: str = "letter") -> str:
    """What stands between the answer tags of the gold completion."""
    answer = record.answer if answer_with == "letter" else [one_line(text) for text in answer_text(record)]
    return ", ".join(answer or [NO_OPTION])


def parse(text: str) -> Parsed:
    """Take a completion apart; never raises. An answer is read from the only answer tag even where the format around it is broken."""
    text = text.split(END)[0]
    counts = [text.count(t) for t in (THINK, END_THINK, ANSWER, END_ANSWER)]
    found = _COMPLETION.fullmatch(text) if counts == [1, 1, 1, 1] else None
    if found:
        answer = found["answer"].strip()
        steps = [line.strip() for line in found["steps"].split(STEP_DELIMITER) if line.strip()]
        return Parsed(steps, answer or None, bool(answer), "ok" if answer else "empty_answer")
    answers = _ANSWER.findall(text) if counts[2:] == [1, 1] else []
    thought = text.partition(THINK)[2].partition(END_THINK)[0].partition(ANSWER)[0] if THINK in text else ""
    steps = [line.strip() for line in thought.split(STEP_DELIMITER) if line.strip()]
    answer = answers[0].strip() or None if answers else None
    reason = "broken_format" if answer else ("several_answers" if counts[2] > 1 else "no_answer")
    return Parsed(steps, answer, False, reason)
