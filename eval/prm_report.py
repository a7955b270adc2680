"""The held-out figures of a run's process reward models: `prm_metrics.json`, a reliability diagram, and their section of the report.

Training leaves `step_scores.jsonl` (one line a solution) in the stage's folder; everything here follows from it.
"""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data.drawn_solutions import SCORES
from data.label_report import LABEL_REPORT
from eval.report_charts import number
from eval.results import write_atomic
from eval.step_metrics import step_metrics

METRICS = "prm_metrics.json"
PARTS = ("steps", "perception", "reasoning", "answers")
COLUMNS = (("n", "n"), ("share_right", "right"), ("auroc", "AUROC"), ("macro_f1", "macro F1"), ("ece", "ECE"))


def read_scores(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a `step_scores.jsonl`, or of the one in a stage's folder. A broken line is a `ValueError` naming it."""
    path = Path(path)
    path = path / SCORES if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no held-out scores at {path}: give the prm stage heldout (a number of prompts)")
    rows = []
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            if not len(row["scores"]) == len(row["labels"]) == len(row["kinds"]) + 1:
                raise ValueError("scores, labels and kinds do not fit each other")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {i}: {error}") from None
        rows.append(row)
    return rows


def find_scored(run: str | Path) -> list[Path]:
    """The folders below a run directory (or the folder itself) that hold held-out scores."""
    run = Path(run)
    return [run] if (run / SCORES).is_file() else sorted(path.parent for path in run.glob(f"stages/*/{SCORES}"))


def write_metrics(folder: Path) -> dict[str, Any]:
    """Compute the figures of a stage's folder and leave them there as `prm_metrics.json`; returns them."""
    metrics = step_metrics(read_scores(folder))
    write_atomic(folder / METRICS, json.dumps(metrics, indent=1))
    return metrics


def plot_reliability(metrics: dict[str, Any], path: Path) -> Path:
    """A PNG: score against share right, for the steps and the answers of every modality."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    for axis, part in zip(axes, ("steps", "answers"), strict=True):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, figures in {"all": metrics["all"], **metrics["modalities"]}.items():
            if figures[part] is not None:
                bins = figures[part]["reliability"]
                axis.plot([b["score"] for b in bins], [b["right"] for b in bins], marker="o", label=f"{name}, ECE {figures[part]['ece']:.3f}")
        axis.set(title=part, xlabel="score", xlim=(0, 1), ylim=(0, 1))
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("share right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def table(metrics: dict[str, Any]) -> list[list[str]]:
    """Rows of text: part, modality, then the columns of `COLUMNS`; the first row is the head."""
    rows = [["", "modality", *(title for _, title in COLUMNS)]]
    for part in PARTS:
        for name, figures in {"all": metrics["all"], **metrics["modalities"]}.items():
            if figures[part] is not None:
                values = [figures[part][key] for key, _ in COLUMNS]
                rows.append([part, name, *(_text(v) for v in values)])
    return rows


def accepted_table(metrics: dict[str, Any]) -> list[list[str]]:
    """Rows of text: what is accepted among a question's solutions, by its pass rate; the first row is the head."""
    rows = [["pass rate", "solutions", "accepted", "of these right", "95 %"]]
    for cell in metrics["all"]["accepted"]:
        low, high = cell["pass_rate"]
        span = f"[{cell['ci95'][0]:.3f}, {cell['ci95'][1]:.3f}]" if cell["accepted"] else "-"
        rows.append([f"{low:g} to {high:g}", str(cell["n"]), str(cell["accepted"]), _text(cell["precision"]), span])
    return rows


def show_prm(run: Path, as_json: bool = False) -> None:
    """Write and print the figures of every process reward model of a run; a run without held-out scores is a `ValueError`."""
    folders = find_scored(run)
    if not folders:
        raise ValueError(f"{run} holds no {SCORES}: give its prm stage heldout (a number of prompts)")
    found = {str(folder): write_metrics(folder) for folder in folders}
    for folder, metrics in found.items():
        plot = plot_reliability(metrics, Path(folder) / "reliability.png")
        if not as_json:
            print(folder)
            for row in table(metrics):
                print("  " + "".join(f"{cell:<12}" for cell in row).rstrip())
            errors = metrics["all"]["first_error"]
            print(f"  first error: F1 {errors['f1']:.3f} (with an error {errors['erroneous']:.3f}, without {errors['correct']:.3f})   {plot}")
            for row in accepted_table(metrics):
                print("  " + "".join(f"{cell:<16}" for cell in row).rstrip())
    if as_json:
        print(json.dumps(found, indent=1))


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def section(facts: Any) -> Markup | None:
    """The report's section: per stage a table, the first-error measure, and a reliability diagram as inline SVG. None where nothing was scored."""
    parts = [_stage_html(folder) for folder in find_scored(facts.run_dir)]
    return Markup("").join(parts) if parts else None


def _stage_html(folder: Path) -> Markup:
    metrics = write_metrics(folder)
    plot_reliability(metrics, folder / "reliability.png")
    whole, choice = metrics["all"], metrics["all"]["selection"]
    html = Markup("<h3>{} <span>{} held-out solutions of {} questions</span></h3>").format(
        folder.name.partition("-")[2] or folder.name, whole["solutions"], whole["questions"]
    )
    html += _table_html(table(metrics))
    errors = whole["first_error"]
    words = Markup(
        "<p>First wrong step: F1 {} (with an error {}, without {}). Of two solutions to one question the right one scores higher in {} %. "
        "A random one is right in {} %, the majority in {} %, the best by score in {} %, the oracle's in {} %.</p>"
    ).format(
        *(_text(errors[k]) for k in ("f1", "erroneous", "correct")),
        *(number(100 * choice[k]) for k in ("pairs", "random", "majority", "best", "oracle")),
    )  # fmt: skip
    drawings = reliability_svg(whole["steps"], "steps") + reliability_svg(whole["answers"], "answers")
    return html + words + _table_html(accepted_table(metrics)) + drawings + _labels_html(folder)


def _table_html(rows: list[list[str]]) -> Markup:
    """The first row as the head."""
    head, *body = rows
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        Markup("").join(Markup("<th>{}</th>").format(h) for h in head),
        Markup("").join(Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(c) for c in row)) for row in body),
    )


def _labels_html(folder: Path) -> Markup:
    """One line on where the labels came from and how far they can be trusted."""
    path = folder / LABEL_REPORT
    if not path.is_file():
        return Markup("")
    found = json.loads(path.read_text(encoding="utf-8"))
    agreement, noise = found["agreement"], found["noise"]
    text = f"Labels: {', '.join(found['sources'])}; {100 * found['unmeasured']:.1f} % of the steps unmeasured"
    text += f"; {100 * agreement['steps']:.1f} % agree with the exact verifier" if agreement else ""
    text += f"; {noise['completions']:.1f} completions an estimate, standard deviation {noise['sd']:.3f}" if noise else ""
    return Markup("<p>{}.</p>").format(text)


def reliability_svg(part: dict[str, Any] | None, name: str, size: int = 170) -> Markup:
    """A square with the diagonal and a point per bin, its area by how much it holds."""
    if part is None:
        return Markup("")
    inner, most = size - 30, max(b["n"] for b in part["reliability"])
    place = lambda x, y: (24 + inner * x, 6 + inner * (1 - y))  # noqa: E731
    dots = [(*place(b["score"], b["right"]), 2 + 5 * (b["n"] / most) ** 0.5) for b in part["reliability"]]
    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    drawn = Markup("").join(Markup('<circle fill="var(--accent)" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(*dot) for dot in dots)
    line = Markup('<path class="line" d="M{}"/>').format("L".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots))
    return Markup(
        '<svg class="curve" style="max-width:{}px" viewBox="0 0 {} {}" role="img" aria-label="reliability of the {}">'
        '<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>{}{}'
        '<text class="tick start" x="24" y="{}">{}: score, share right</text></svg>'
    ).format(size * 2, size, size, name, x0, y0, x1, y1, line, drawn, size - 6, name)
