r"""What did somebody else's output answer? Offline rules with reason codes, for predictions made elsewhere and for models that do not keep our tags.

The output is narrowed to the span that states the answer (answer tag, `####`, last box, last "the answer is …", otherwise all of it), and the span
is read by the type of the record's answer. A rule that cannot decide abstains: it never guesses, and never picks at random. Codes of an answer that
was read: `tag`, `marker`, `boxed`, `phrase` (where the span came from) joined to `letter`, `option_text`, `contained`, `number`, `number_word`,
`list`, `text`; of none: `empty`, `too_long`, `too_hard`, `refusal`, `no_answer`, `ambiguous`, `no_such_option`.

Outputs are hostile until read: every rule takes time in proportion to the length of its text. A pattern that begins with a run of something starts
at the head of the run only (`(?<!\s)`), and a run that what follows cannot continue is never given back (`\s*+`).
"""

import re
from typing import Literal

from data import answers
from data.record import LETTERS, Record
from eval.benchmarks.base import Extraction

VERSION = "rules/2"  # raise the number whenever a rule changes: it stands in every results file
MAX_LENGTH = 100_000  # characters; a longer output is no answer
CLOSED = ("tag", "marker", "boxed")  # spans that hold the answer and nothing else
SHORT = 60  # characters: such a span is read as one mathematical expression up to here
Prefer = Literal["letter", "text"]

_TAG, _END_TAG = re.compile(r"<answer>", re.IGNORECASE), re.compile(r"</answer>", re.IGNORECASE)
_MARKER = re.compile(r"(?:^|\s)#### *([^\n]+)")
_NEXT_ITEM = re.compile(r"(?<!\s)[^\S\n]*+(\n)\s*+(?:Hint: Please|Question:|Choices:)")  # a model that runs on into the next question
_PHRASE = re.compile(
    r"\b(?:answer|(?:correct|right|best) (?:option|choice)|final (?:value|result))(?: letter| option| choice)?\b[*_]{0,2}"
    r"(?: to [^.:\n](?:[^.:\n]{0,78}?[^.:\s])??)?(?:\s*+(?:(?:is|are|would be|should be|must be)\b|[:=])){1,2}[*_]{0,2}[^\S\n]*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:sorry|cannot (?:answer|be (?:determined|answered|extracted))|can't (?:answer|be determined)|unable to|not (?:possible|clear)|no answer|"
    r"not (?:enough|provided)|N/A)\b",
    re.IGNORECASE,
)
_LONE_LETTER = re.compile(r"[\s\"'`*_$(\[{]*([A-Za-z])[\s\"'`*_$)\]}.:,]*")
_LEADING_LETTER = re.compile(r"[\s\"'`*_]*(?:[(\[]([A-Za-z])[)\]][.:]?|([A-Z])[).:])(?=\s|$|[*_\"'])")
_BRACKETED = re.compile(r"[(\[]([A-Za-z])[)\]]")
_BARE = re.compile(r"(?<![\w'’(\[{$\\^])([B-HJ-Z])(?![\w'’)\]}^=+*/-])")
_LISTED = re.compile(r"(?:^|\s)[(\[]([A-Za-z])[)\]]")
_POWER = re.compile(r"(?:(?<!\s)\s*+)?(?:\\times|×|\bx\b|\*)\s*+10\s*+\^\s*+(?:\{\s*+)?([-−+]?\d{1,3})\s*+\}?")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FRACTION = re.compile(r"((?:[-−]|(?<!\d))\d++)\s*+/\s*+(\d+)")
_BRACE = re.compile(r"[{}]")
_LIST = re.compile(r"\[([^\[\]]*)\]")


def extract(text: str | None, record: Record, prefer: Prefer = "letter") -> Extraction:
    """What an output answers to a record's question, as an option letter (letters for `choices`), a plain number, a list, or text.

    `prefer` says what a benchmark asks its models for where the two collide (options `C, B, A`): an option's letter or its text.
    """
    if text is None or not text.strip():
        return Extraction(None, "empty")
    if len(text) > MAX_LENGTH:
        return Extraction(None, "too_long")
    found = Extraction(None, "no_answer")
    for span, origin in answer_spans(text):
        found = _read(span, record, prefer, origin)
        if found.answer is not None:
            return Extraction(found.answer, f"{origin}:{found.reason}" if origin else found.reason)
        if found.reason != "no_answer":
            break
    return found


def _read(span: str, record: Record, prefer: Prefer, origin: str) -> Extraction:
    kind = record.answer_type
    if kind == "choice":
        return read_choice(span, record.options or [], prefer, named=bool(origin))
    if kind == "choices":
        return read_choices(span, record.options or [])
    if kind in ("integer", "float"):
        found = read_number(span, first=bool(origin))
        if origin not in CLOSED or len(span) > SHORT:
            return found
        whole = answers.value(span, record.unit)
        if whole is None and answers.too_hard(span, record):
            return Extraction(None, "too_hard")  # `9^9^9^9`: its first number is not what it says
        return found if whole is None or (found.answer and answers.value(found.answer) == whole) else Extraction(span, "number")
    if kind == "list":
        return read_list(span)
    said = span.strip().rstrip(".")
    return Extraction(said or None, "text" if said else "empty")


def answer_spans(text: str) -> list[tuple[str, str]]:
    """The parts of an output that may state its answer, the likeliest first, and where each came from: `tag` or `marker` (then no other counts),
    `boxed`, `phrase` (the last one first), or nothing for the whole output."""
    if (tagged := last_tag(text)) is not None:
        inner = last_box(tagged)
        return [((inner if inner is not None else tagged).strip(), "tag")]
    if marks := _MARKER.findall(text):
        return [(marks[-1].strip(), "marker")]
    if (item := _NEXT_ITEM.search(text)) and (head := text[: item.start(1)]).strip():
        text = head
    inner = last_box(text)
    spans = [] if inner is None else [(inner, "boxed")]
    ends = [m.end() for m in _PHRASE.finditer(text)][-6:]
    phrases = [span for end in ends if (span := text[end:].split("\n", 1)[0].strip()).strip(" .*_:")]
    return [*spans, *((span, "phrase") for span in phrases[:-4:-1]), *(() if phrases else ((text.strip(), ""),))]


def last_tag(text: str) -> str | None:
    """What stands in the last `<answer>…</answer>`, each tag closed by the first one after it; None without one."""
    span, at = None, 0
    while (opened := _TAG.search(text, at)) and (closed := _END_TAG.search(text, opened.end())):
        span, at = slice(opened.end(), closed.start()), closed.end()
    return None if span is None else text[span]


def last_box(text: str) -> str | None:
    r"""What the last `\boxed{…}` holds, nested braces included; None without one or where its braces do not close."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for brace in _BRACE.finditer(text, begin):
        if brace.group() == "{":
            depth += 1
        elif depth == 0:
            return text[begin : brace.start()]
        else:
            depth -= 1
    return None


def plain(text: str) -> str:
    """Text with case, outer punctuation and runs of white space taken away: how option texts are compared."""
    return " ".join(text.casefold().split()).strip(" \"'`*_$.")


def read_choice(text: str, options: list[str], prefer: Prefer = "letter", named: bool = False) -> Extraction:
    """The letter of the option that a text names, or why not. Two different options named, or a letter and another option's text: `ambiguous`."""
    exact = [i for i, option in enumerate(options) if option.strip(" .\t\n") == text.strip(" .\t\n")]
    if exact and (prefer == "text" or not _LONE_LETTER.fullmatch(text)):
        return Extraction(LETTERS[exact[0]], "option_text")
    if lone := _LONE_LETTER.fullmatch(text):
        return _letter(lone.group(1), options)
    if same := [i for i, option in enumerate(options) if plain(option) == plain(text)]:
        return _one_text(same, options, "option_text")
    if not named and len({m.upper() for m in _LISTED.findall(text)}) > 1:
        return Extraction(None, "ambiguous")  # the options are listed, none is chosen
    if lead := _LEADING_LETTER.match(text):
        return _leading(lead.group(1) or lead.group(2), text[lead.end() :], options)
    letters = {m.upper() for m in _BRACKETED.findall(text) if m.upper() in LETTERS[: len(options)]}
    if not letters and named:
        letters = {m for m in _BARE.findall(text) if m in LETTERS[: len(options)]}
    contained = contained_options(text, options)
    if len(letters) == 1 and (not contained or {LETTERS[i] for i in contained} >= letters):
        return Extraction(letters.pop(), "letter")
    if not letters and contained:
        return _one_text(contained, options, "contained")
    return Extraction(None, "ambiguous" if letters or contained else "refusal" if _REFUSAL.search(text) else "no_answer")


def _letter(letter: str, options: list[str]) -> Extraction:
    if letter.upper() in LETTERS[: len(options)]:
        return Extraction(letter.upper(), "letter")
    same = [i for i, option in enumerate(options) if plain(option) == letter.casefold()]
    return _one_text(same, options, "option_text") if same else Extraction(None, "no_such_option")


def _one_text(indices: list[int], options: list[str], reason: str) -> Extraction:
    """Options with one text are one answer: the first stands for them."""
    one = len({plain(options[i]) for i in indices}) == 1
    return Extraction(LETTERS[indices[0]], reason) if one else Extraction(None, "ambiguous")


def _leading(letter: str, rest: str, options: list[str]) -> Extraction:
    """`(B) text`: the letter, unless the text is that of another option."""
    line = rest.strip().split("\n", 1)[0]
    named = [i for i, option in enumerate(options) if plain(option) == plain(line)] if line else []
    found = _letter(letter, options)
    if named and (found.answer is None or plain(options[LETTERS.index(found.answer)]) != plain(line)):
        return _one_text(named, options, "option_text") if found.answer is None else Extraction(None, "ambiguous")
    return found


def contained_options(text: str, options: list[str]) -> list[int]:
    """Indices of the options whose text stands in the text as whole words, those inside a longer option that stands there too left out."""
    hay = " " + " ".join(re.findall(r"[\w.%°'/\\{}^+*-]+", text.casefold().replace(". ", " ").rstrip(". \n"))) + " "
    keys = [" ".join(re.findall(r"[\w.%°'/\\{}^+*-]+", option.casefold().strip().rstrip("."))) for option in options]
    hits = sorted((i for i, key in enumerate(keys) if key and f" {key} " in hay), key=lambda i: -len(keys[i]))
    kept: list[int] = []
    for i in hits:
        if any(keys[i] == keys[j] for j in kept):
            continue
        if f" {keys[i]} " in hay:
            kept.append(i)
            hay = hay.replace(f" {keys[i]} ", " | ")
    return sorted(kept)


def read_choices(text: str, options: list[str]) -> Extraction:
    """The set of letters a text names, as `A,C`; `none` where it says that none holds."""
    bare = plain(text)
    if bare in ("none", "none of the above", "no option", "neither"):
        return Extraction("none", "none")
    parts = [p for p in re.split(r"[\s,;&]+|\band\b", text.strip(" .")) if p.strip("().:[]")]
    letters = [p.strip("().:[]").upper() for p in parts]
    if letters and all(len(x) == 1 and x in LETTERS[: len(options)] for x in letters):
        return Extraction(",".join(sorted(set(letters))), "letter")
    bracketed = {m.upper() for m in _BRACKETED.findall(text) if m.upper() in LETTERS[: len(options)]}
    if bracketed:
        return Extraction(",".join(sorted(bracketed)), "letter")
    if contained := contained_options(text, options):
        return Extraction(",".join(LETTERS[i] for i in contained), "contained")
    return Extraction(None, "no_answer")


def read_number(text: str, first: bool = False) -> Extraction:
    """The number a text ends on (`first`: starts with), without thousands separators and currency; a fraction stays one (`1/12`)."""
    text = _POWER.sub(r"e\1", text.replace("\\$", "$").replace("{,}", ",")).replace("−", "-")
    numbers = [m for m in _NUMBER.finditer(text) if any(c.isdigit() for c in m.group())]
    if not first and _REFUSAL.search(text[:60]):
        return Extraction(None, "refusal")
    if not numbers:
        words = {w for w in re.findall(r"[a-z]+", text.lower()) if w in _WORDS}
        return Extraction(str(_WORDS.index(words.pop())), "number_word") if len(words) == 1 else Extraction(None, "no_answer")
    if not first and len({m.upper() for m in _LISTED.findall(text)}) > 1:
        return Extraction(None, "ambiguous")
    found = numbers[0] if first else numbers[-1]
    for fraction in _FRACTION.finditer(text):
        if fraction.start() <= found.start() < fraction.end():
            return Extraction(f"{fraction.group(1)}/{fraction.group(2)}", "number")
    value = found.group().replace(",", "").replace("$", "").lstrip("+")
    return Extraction(re.sub(r"(?<=\d)\.0+$", "", value), "number")


def read_list(text: str) -> Extraction:
    """The last bracketed list of a text (or its comma-separated numbers), laid out as Python prints a list."""
    lists = _LIST.findall(text)
    inner = lists[-1] if lists else text if re.fullmatch(r"[\s\d.,;eE+-]+", text) else None
    if inner is None or not inner.strip():
        return Extraction(None, "no_answer")
    parts = [p.strip().strip("'\"") for p in re.split(r"[,;]", inner)] if re.search(r"[,;]", inner) else inner.split()
    return Extraction("[" + ", ".join(p for p in parts if p) + "]", "list")
