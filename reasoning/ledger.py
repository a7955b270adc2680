"""What thinking costs, in tokens: read and written, per model; along the longest chain (time) and in all (work)."""

import dataclasses
from typing import Literal


@dataclasses.dataclass
class Usage:
    """Tokens of one model. `prompt`: read from a prompt, once however many continuations share it; `generated`: written by a policy, or read behind
    the prompt by a scorer; `sequential`: the longest chain of generated tokens that wait for each other."""

    role: Literal["policy", "scorer"]
    prompt: int = 0
    generated: int = 0
    sequential: int = 0

    @property
    def total(self) -> int:
        """A policy is charged what it writes; a scorer writes nothing and is charged what it reads, prompt and all."""
        return self.generated if self.role == "policy" else self.prompt + self.generated


@dataclasses.dataclass
class Ledger:
    """Usage by name of the model."""

    models: dict[str, Usage] = dataclasses.field(default_factory=dict)

    def charge(self, model: str, role: Literal["policy", "scorer"], *, prompt: int = 0, generated: int = 0, sequential: int = 0) -> None:
        usage = self.models.setdefault(model, Usage(role))
        usage.prompt += prompt
        usage.generated += generated
        usage.sequential += sequential

    def tokens(self) -> dict[str, int]:
        """`sequential` and `total` of the policies, `scorer_total` of the scorers, as result rows hold them."""
        policies = [u for u in self.models.values() if u.role == "policy"]
        scorers = [u for u in self.models.values() if u.role == "scorer"]
        return {
            "sequential": sum(u.sequential for u in policies), "total": sum(u.total for u in policies), "scorer_total": sum(u.total for u in scorers),
        }  # fmt: skip

    def to_json(self) -> dict[str, dict[str, int | str]]:
        return {name: dataclasses.asdict(usage) | {"total": usage.total} for name, usage in self.models.items()}
