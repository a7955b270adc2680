"""What a score must be read against: the same items with the media taken away or swapped, with the options shuffled, and answers that need no
model at all.

A control is named in a recipe as `name` or `name:argument`:
    blank_media          grey image, silence, black frames of the same size        through the model
    shuffled_media[:k]   the media of another item, never of the same group; mean over k shuffles      through the model
    shuffled_options     options in another order: does it choose the same text?   through the model
    always_first, always_option:B, longest_option, random_option                   no model; over the items that have options
    always_option        the best of all fixed letters                             no model
    commonest_answer     the likeliest gold answer of each question template, the best that a blind guesser could know        no model
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.record import LETTERS, Record
from data.worlds.base import generator
from eval.benchmarks.base import Benchmark
from models.media import Media

MEDIA_CONTROLS = ("blank_media", "shuffled_media", "shuffled_options")
ANSWER_CONTROLS = ("always_first", "always_option", "longest_option", "random_option", "commonest_answer")
FREE_CONTROLS = ("always_option", "longest_option", "random_option", "commonest_answer")  # cost nothing: they stand beside every score
WRAPPERS = ("{}", "({})", "The answer is {}.", "Answer: {}", "**{}**")  # ways in which a model may dress a right answer
OPTION_WRAPPERS = ("({letter}) {text}", "The answer is {text}.")  # and the one right option of several, by its letter and its text
GREY, BLACK = 128, 0


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """`argument`: how many shuffles, or which option letter."""

    name: str
    argument: str = ""

    @property
    def through_model(self) -> bool:
        return self.name in MEDIA_CONTROLS


def parse_control(text: str) -> Control:
    """`shuffled_media:10` -> Control; a name or argument that does not exist is a `ValueError` that lists the names."""
    name, _, argument = text.partition(":")
    if name not in (*MEDIA_CONTROLS, *ANSWER_CONTROLS):
        raise ValueError(f"unknown control {name!r} (known: {', '.join((*MEDIA_CONTROLS, *ANSWER_CONTROLS))})")
    wanted = {"shuffled_media": r"(?:[1-9]\d?)?", "always_option": r"[A-Z]?"}.get(name, r"")
    if not re.fullmatch(wanted, argument):
        takes = {"always_option": "an option letter or nothing", "shuffled_media": "a number of shuffles, 1 to 99, or nothing"}.get(name, "nothing")
        raise ValueError(f"control {text!r}: {name} takes {takes} behind a colon")
    return Control(name, argument)


def blank(media: Media) -> Media:
    """The same medium with nothing in it: mid-grey pixels, silence, black frames; size, length and rate stay."""
    fill = GREY if media.kind == "image" else BLACK
    return dataclasses.replace(media, array=np.full_like(media.array, fill))


def donors(records: Sequence[Record], seed: int) -> dict[str, str]:
    """Whose media each record is shown instead of its own: record id -> id of a record with as many media of the same kinds and another group.

    Groups are laid out in an order drawn from the seed and everybody takes from as many places further on as the largest group is long, so
    nobody is left with an item of his own group. Records for which there is no such item (a group that is half of all) are left out.
    """
    buckets: dict[tuple, dict[str, list[str]]] = {}
    for record in records:
        if record.media:
            kinds = tuple(ref.kind for ref in record.media)
            buckets.setdefault(kinds, {}).setdefault(record.group or record.id, []).append(record.id)
    given: dict[str, str] = {}
    for kinds, groups in sorted(buckets.items()):
        names = sorted(groups)
        order = generator(seed, "donors", kinds).permutation(len(names))
        line = [(names[g], item) for g in order for item in sorted(groups[names[g]])]
        shift = max(len(items) for items in groups.values())
        for place, (group, item) in enumerate(line):
            donor_group, donor = line[(place + shift) % len(line)]
            if donor_group != group:
                given[item] = donor
    return given


def shuffle_options(record: Record, seed: int) -> Record:
    """The record with its options in another order and the gold letters moved along; unchanged without at least two options."""
    if not record.options or len(record.options) < 2:
        return record
    order = option_order(record, seed)
    letters = [LETTERS[order.index(LETTERS.index(a))] for a in record.answer]
    return dataclasses.replace(record, options=[record.options[i] for i in order], answer=sorted(letters))


def option_order(record: Record, seed: int) -> list[int]:
    """Which old option stands at each new place. Never the order as it was."""
    rng, count = generator(seed, "options", record.id), len(record.options)
    order = list(range(count))
    while order == sorted(order):
        order = rng.permutation(count).tolist()
    return order


def chosen_text(record: Record, extracted: str | None) -> str | None:
    """The option texts that an extracted answer names, joined; None where it names none."""
    from data.answers import canonical

    letters = canonical(extracted, record)
    if letters is None:
        return None
    return " | ".join(sorted(record.options[LETTERS.index(x)] for x in letters.split(",") if x))


def option_consistency(pairs: Iterable[tuple[Record, str | None, Record, str | None]]) -> dict[str, float]:
    """(record, extracted, shuffled record, extracted) per item -> share of the items with options on which the same text was chosen both times."""
    same = [chosen_text(r, a) == chosen_text(s, b) is not None for r, a, s, b in pairs if r.options]
    return {"n": len(same), "consistency": sum(same) / len(same) if same else 0.0}


def answer_control(benchmark: Benchmark, records: Sequence[Record], control: Control, protocol: str) -> dict[str, Any] | None:
    """{n, score} of a control that needs no model, graded like any output; None where it applies to no record."""
    if control.name == "random_option":
        shares = [_random_share(r) for r in records if r.options]
        return {"n": len(shares), "score": sum(shares) / len(shares)} if shares else None
    if control == Control("always_option"):
        return _best_letter(benchmark, records, protocol)
    if control.name == "commonest_answer":
        answers = _commonest(benchmark, records, protocol)
    else:
        answers = {r.id: benchmark.worded(r, [_pick(control, r.options)], protocol) for r in records if r.options}
    asked = [r for r in records if r.id in answers]
    if not asked:
        return None
    graded = [benchmark.judge(r, benchmark.wrap(r, answers[r.id], protocol), protocol) for r in asked]
    summary = benchmark.summarise(asked, graded, protocol)
    return {"n": summary.n, "score": summary.score}


def wrapper_sensitivity(benchmark: Benchmark, records: Sequence[Record], protocol: str) -> dict[str, Any]:
    """How much the grading depends on dress: the gold answer of every record in each of `WRAPPERS` and, where any is a choice, of `OPTION_WRAPPERS`,
    graded. {spread, scores: wrapper -> score}; a protocol that reads tags strictly is expected to refuse some, and this says which. A record that is
    no choice goes without the dress of an option, so that every score is one over all records."""
    plain = {r.id: benchmark.worded(r, benchmark.gold(r, protocol), protocol) for r in records}
    said = {wrapper.format("X"): {id: wrapper.format(text) for id, text in plain.items()} for wrapper in WRAPPERS}
    named = {r.id: (r.answer[0], r.options[LETTERS.index(r.answer[0])]) for r in records if r.answer_type == "choice"}
    for wrapper in OPTION_WRAPPERS if named else ():
        dressed = {id: wrapper.format(letter=letter, text=text) for id, (letter, text) in named.items()}
        said[wrapper.format(letter="A", text="option text")] = {**plain, **dressed}
    scores = {}
    for wrapper, texts in said.items():
        graded = [benchmark.judge(r, benchmark.wrap(r, texts[r.id], protocol), protocol) for r in records]
        scores[wrapper] = benchmark.summarise(records, graded, protocol).score
    return {"spread": max(scores.values()) - min(scores.values()), "scores": scores}


def chance(benchmark: Benchmark, records: Sequence[Record], protocol: str) -> list[float]:
    """For each record what a guesser gets who knows nothing: a uniform guess among options, elsewhere 1 where the commonest answer of the other
    questions of its kind is right and 0 where it is not."""
    common = _commonest(benchmark, records, protocol)
    hit = lambda r: r.id in common and benchmark.judge(r, benchmark.wrap(r, common[r.id], protocol), protocol).correct  # noqa: E731
    return [_random_share(r) if r.options else float(hit(r)) for r in records]


def _best_letter(benchmark: Benchmark, records: Sequence[Record], protocol: str) -> dict[str, Any] | None:
    """Every letter that an option has, each always answered; the best one's score."""
    most = max((len(r.options or []) for r in records), default=0)
    found = {letter: answer_control(benchmark, records, Control("always_option", letter), protocol) for letter in LETTERS[:most]}
    scores = {letter: result["score"] for letter, result in found.items() if result}
    if not scores:
        return None
    letter = max(scores, key=lambda x: (scores[x], -ord(x)))
    return {"n": next(r["n"] for r in found.values() if r), "score": scores[letter], "letter": letter, "scores": scores}


def _pick(control: Control, options: Sequence[str]) -> str:
    if control.name == "longest_option":
        return LETTERS[max(range(len(options)), key=lambda i: (len(options[i]), -i))]
    letter = control.argument or "A"
    return letter if LETTERS.index(letter) < len(options) else LETTERS[len(options) - 1]


def _random_share(record: Record) -> float:
    """The chance of a uniform guess: one of the options, or one of their subsets."""
    return 1 / len(record.options) if record.answer_type == "choice" else 0.5 ** len(record.options)


def _commonest(benchmark: Benchmark, records: Sequence[Record], protocol: str) -> Mapping[str, str]:
    """For each record the commonest gold answer among the *other* records of its template (of its family, where that is all that is known). Of
    options it is the place that is commonest, whatever stands there."""
    where: Callable[[Record], tuple] = lambda r: (r.meta.get("template", r.meta.get("family", "")), r.answer_type)  # noqa: E731
    tallies: dict[tuple, collections.Counter] = collections.defaultdict(collections.Counter)
    golds = [tuple(benchmark.gold(record, protocol)) for record in records]
    for record, gold in zip(records, golds, strict=True):
        tallies[where(record)][gold] += 1
    answers = {}
    for record, gold in zip(records, golds, strict=True):
        others = tallies[where(record)] - collections.Counter([gold])
        if others:
            answers[record.id] = benchmark.worded(record, min(others, key=lambda a: (-others[a], a)), protocol)
    return answers
