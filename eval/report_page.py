"""The templates of pages: escaped by default, style and script inlined, numbers formatted in one place."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

HERE = Path(__file__).resolve().parent


def environment() -> Any:
    """A jinja2 environment over the templates beside this file. Everything that is no `Markup` is escaped."""
    import jinja2

    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page.filters |= {"points": points, "duration": duration, "metric": metric, "pretty": pretty}
    page.globals |= {"style": asset("report.css"), "script": asset("report.js")}
    return page


def asset(name: str) -> Markup:
    """A file of ours, put into a page as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def points(value: float) -> str:
    """A percentage with one decimal, without `.0` at the ends of the scale."""
    return "0" if value <= 0 else "100" if value >= 100 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def metric(value: Any) -> str:
    from eval.report_charts import number

    return number(float(value)) if isinstance(value, (int, float)) else str(value)


def pretty(name: str) -> str:
    return name.replace("_", " ")
