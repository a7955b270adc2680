"""A policy behind an OpenAI-compatible server (vLLM and others): images and frames as data URLs, sounds as wav, log-probabilities and token ids
where the server tells them.

Going step by step needs a server that continues an assistant's message (`continue_final_message`, as vLLM does).
"""

import base64
import hashlib
import io
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data import protocol
from data.record import Record
from models.media import Media
from reasoning.policy import Asked, sample_seed
from reasoning.stepping import STEP_ENDS
from reasoning.trace import Generation

SEED_BITS = 31  # servers take 32-bit seeds
AGAIN = (429, 500, 502, 503, 504)  # worth another try


class HttpPolicy:
    """`url`: of the API, up to `/v1`. `media`: the fields of `MediaSpec` at which files are decoded. `timeout`: seconds for one answer; `tries`: how
    often a server that is busy or restarting is asked; `parallel`: requests at a time. Every failure is a `ValueError` naming server and reason."""

    def __init__(
        self, url: str, model: str, *, seed: int = 0, media: dict[str, Any] | None = None, key: str | None = None, timeout: float = 120.0,
        tries: int = 3, parallel: int = 8,
    ):  # fmt: skip
        if not re.match(r"https?://", url):
            raise ValueError(f"{url!r} is no address of a server: http://host:port/v1")
        self.url, self.name, self.seed, self.media, self.key = url.rstrip("/"), model, seed, media or {}, key
        self.timeout, self.tries, self.parallel = timeout, tries, parallel
        self.fingerprint = hashlib.sha256(f"{self.url}\0{model}".encode()).hexdigest()[:16]
        self._prompt_tokens: dict[str, int] = {}

    def chat(self, turn: str) -> str:
        """The server has its own layout; the turn is all there is."""
        return turn

    def ask(self, record: Record, instruction: str = "") -> Asked:
        from data.media import decode_ref

        turn = protocol.prompt(record, instruction)
        return Asked(record, turn, [decode_ref(ref, self.media) for ref in record.media], turn)

    def problem(self, asked: Asked) -> str | None:
        count = len(_PLACEHOLDER.findall(asked.prompt))
        return None if count == len(asked.media) else f"the text holds {count} media placeholders but {len(asked.media)} media were given"

    def prompt_tokens(self, asked: Asked) -> int:
        """As the server counted them; 0 where it has not been asked yet, or does not tell."""
        return self._prompt_tokens.get(asked.record.id, 0)

    def spans(self, asked: Asked) -> list[tuple[str, int, int]]:
        return [("prompt", 0, self.prompt_tokens(asked))]

    def sample(self, asked: Sequence[Asked], ks: Sequence[Sequence[int]], temperature: float, max_new_tokens: int) -> list[list[Generation]]:
        wanted = [(i, k, sample_seed(self.seed, item.record.id, k)) for i, item in enumerate(asked) for k in ks[i]]
        bodies = [self._body(asked[i], temperature, max_new_tokens, seed) for i, _, seed in wanted]
        drawn: list[list[Generation]] = [[] for _ in asked]
        for (i, k, seed), answer in zip(wanted, self._ask_all(bodies), strict=True):
            drawn[i].append(self._generation(asked[i], answer, k, seed))
        return drawn

    def begin(self, asked: Sequence[Asked]) -> "HttpStepper":
        return HttpStepper(self, list(asked))

    def _body(self, asked: Asked, temperature: float, max_new_tokens: int, seed: int, before: str = "", stop: Sequence[str] = ()) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name, "messages": [{"role": "user", "content": content(asked.prompt, asked.media)}], "temperature": temperature,
            "max_tokens": max_new_tokens, "seed": seed % (1 << SEED_BITS), "n": 1, "logprobs": True,
        }  # fmt: skip
        if before:
            body["messages"].append({"role": "assistant", "content": before})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if stop:
            body |= {"stop": list(stop), "include_stop_str_in_output": True}
        return body

    def _generation(self, asked: Asked, answer: dict[str, Any], k: int, seed: int, stop: Sequence[str] = ()) -> Generation:
        """`stop`: the strings that end a step without ending the completion."""
        try:
            choice = answer["choices"][0]
            text, why = choice["message"]["content"] or "", choice.get("finish_reason")
            told = [entry["logprob"] for entry in (choice.get("logprobs") or {}).get("content") or []]
            usage = answer.get("usage") or {}
            count = int(usage.get("completion_tokens", len(told)))
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.url}: an answer without {error}: is this an OpenAI-compatible server?") from None
        if not count and text:
            raise ValueError(f"{self.url}: the server counts no tokens (neither usage nor logprobs): a budget cannot be kept")
        self._prompt_tokens.setdefault(asked.record.id, int(usage.get("prompt_tokens", 0)))
        ended = why == "stop" and not any(text.endswith(end) for end in stop)
        return Generation(k, seed, text, count, ended, list(choice.get("token_ids") or []), told)

    def _ask_all(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, bodies))

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        for attempt in range(self.tries):
            if attempt:
                time.sleep(0.5 * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    return json.loads(reply.read())
            except urllib.error.HTTPError as error:
                said = error.read(500).decode("utf-8", "replace")
                reason = f"{error.code} {error.reason}: {said}"
                if error.code not in AGAIN:
                    break
            except TimeoutError:
                reason = f"no answer within {self.timeout:g} s"
            except urllib.error.URLError as error:
                reason = f"no answer within {self.timeout:g} s" if isinstance(error.reason, TimeoutError) else f"cannot be reached: {error.reason}"
            except ValueError as error:
                raise ValueError(f"{self.url}: an answer that is not JSON ({error}): is this an OpenAI-compatible server?") from None
        raise ValueError(f"{self.url}: {reason}")


class HttpStepper:
    """Rows are texts; the server keeps what it has read of them, if it keeps anything."""

    def __init__(self, policy: HttpPolicy, items: list[Asked]):
        self.policy, self.items, self.texts = policy, items, [""] * len(items)

    def grow(
        self, parents: Sequence[int], ks: Sequence[int], seeds: Sequence[int], temperature: float, max_new_tokens: int, whole: bool = False
    ) -> list[Generation]:
        self.items, before = [self.items[p] for p in parents], [self.texts[p] for p in parents]
        stop = () if whole else STEP_ENDS
        rows = zip(self.items, seeds, before, strict=True)
        bodies = [self.policy._body(item, temperature, max_new_tokens, seed, text, stop) for item, seed, text in rows]
        answers = self.policy._ask_all(bodies)
        made = [self.policy._generation(item, a, k, s, stop) for item, a, k, s in zip(self.items, answers, ks, seeds, strict=True)]
        self.texts = [text + g.text for text, g in zip(before, made, strict=True)]
        return made


_PLACEHOLDER = re.compile("|".join(map(re.escape, dict.fromkeys(protocol.PLACEHOLDERS.values()))))


def content(turn: str, media: Sequence[Media]) -> list[dict[str, Any]]:
    """A user turn as parts in order: text, and each medium in the place of its placeholder."""
    parts: list[dict[str, Any]] = []
    queue = iter(media)
    for i, text in enumerate(_PLACEHOLDER.split(turn)):
        if i:
            parts += medium_parts(next(queue))
        if text:
            parts.append({"type": "text", "text": text})
    return parts


def medium_parts(medium: Media) -> list[dict[str, Any]]:
    """An image as one data URL, a video as one per frame, a sound as wav."""
    if medium.kind == "audio":
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, medium.array, int(medium.rate or 16_000), format="WAV")
        return [{"type": "input_audio", "input_audio": {"data": base64.b64encode(out.getvalue()).decode(), "format": "wav"}}]
    from PIL import Image

    parts = []
    for frame in medium.array if medium.kind == "video" else [medium.array]:
        out = io.BytesIO()
        Image.fromarray(frame).save(out, format="PNG")
        parts.append({"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()}})
    return parts
