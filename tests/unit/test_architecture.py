"""The rules of the house that a reader of the tree relies on: who imports whom, how long a file may be, and what is never written.

Everything is read from syntax trees, so nothing is imported and a fault is reported for the whole tree at once as `path:line what`.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("configs", "data", "models", "training", "reasoning", "eval", "bench")
MAY_IMPORT = {
    "models": set(),
    "configs": {"models"},
    "data": {"models", "configs"},
    "reasoning": {"data", "models", "configs"},
    "training": {"data", "models", "reasoning", "configs"},
    "eval": {"data", "models", "reasoning", "configs"},
    "bench": {*PACKAGES},
}
# Where only part of a package is open to another one.
OPEN_MODULES = {("configs", "models"): {"models.registry"}, ("data", "models"): {"models.media", "models.registry"}}
MAX_FILE, MAX_FUNCTION, MAX_TRAIN = 400, 60, 150
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
# The three boundaries where any exception may be caught: media worker, reward worker, top level of a command line.
CATCH_ALL = re.compile(r"^(train\.py|[a-z]+/__main__\.py|data/media\.py|data/stream\.py|training/rewards/algebra\.py)$")
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "torch.load", "os.getenv", "os.environ.get"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
GLOBAL_RANDOM = re.compile(
    r"^(random\.(?!Random$|getstate$|setstate$)|np\.random\.(?!get_state$|set_state$|default_rng$|Generator$|SeedSequence$|PCG64$|Philox$))"
)
# Put together from pieces, so that this file does not hold them.
FORBIDDEN_WORDS = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "../" + "shared")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cff", ".html", ".jinja", ".j2", ".json", ""}


def python_files(*folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return paths + ([ROOT / "train.py"] if "bench" in folders and (ROOT / "train.py").exists() else [])


SOURCES, TESTS = python_files(*PACKAGES), python_files("tests")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def lines_in(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 1)}"


def imports(path: Path) -> Iterator[tuple[ast.stmt, str, int]]:
    """Every import of a file, those inside functions too: (node, dotted module or member, level of dots)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield from ((node, f"{base}.{alias.name}".lstrip("."), node.level) for alias in node.names)


def absolute(path: Path, name: str, level: int) -> str:
    """`from .x import y` inside package p is p.x.y."""
    if not level:
        return name
    package = path.relative_to(ROOT).with_suffix("").parts[:-level]
    return ".".join([*package, name])


def dotted(node: ast.expr) -> str:
    """`np.random.seed` as text; empty where the base is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def import_faults(path: Path, package: str) -> list[str]:
    faults = []
    for node, name, level in imports(path):
        target = absolute(path, name, level)
        other = target.split(".")[0]
        if other not in PACKAGES or other == package:
            continue
        opened = OPEN_MODULES.get((package, other))
        if other not in MAY_IMPORT[package]:
            faults.append(f"{place(path, node)} {package} imports {target}")
        elif opened is not None and not any(target == module or target.startswith(f"{module}.") for module in opened):
            faults.append(f"{place(path, node)} {package} may import only {', '.join(sorted(opened))} of {other}, not {target}")
    return faults


@pytest.mark.parametrize("package", PACKAGES)
def test_import_direction(package):
    assert [fault for path in python_files(package) if path.name != "train.py" for fault in import_faults(path, package)] == []


def test_import_direction_notices_a_wrong_import(tmp_path, monkeypatch):
    """The checker itself: absolute, relative and nested imports are all seen."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "bad.py"
    path.write_text(
        "import eval.run\nfrom models import media, fusion\ndef f():\n    from training.losses import policy_loss\nfrom . import record\n"
    )
    faults = import_faults(path, "data")
    assert [fault.split(" ", 1)[1] for fault in faults] == [
        "data imports eval.run",
        "data may import only models.media, models.registry of models, not models.fusion",
        "data imports training.losses.policy_loss",
    ]


def test_nothing_imports_the_entry_points_or_the_tests():
    banned = {"train", "tests", "bench"}
    faults = [f"{place(p, n)} {name}" for p in SOURCES for n, name, level in imports(p) if not level and name.split(".")[0] in banned]
    assert [fault for fault in faults if not fault.startswith("bench/")] == []


def test_models_is_one_flat_folder_with_single_dot_imports():
    """transformers copies remote code file by file: sub-packages and absolute imports of our own do not survive that."""
    nested = [place(path) for path in python_files("models") if path.parent != ROOT / "models"]
    far = [
        f"{place(path, node)} {'.' * level}{name}"
        for path in python_files("models")
        for node, name, level in imports(path)
        if level > 1 or (not level and name.split(".")[0] == "models")
    ]
    assert nested + far == []


def registry_lines() -> list[tuple[str, Path, str]]:
    """(line as text, file it names, object it names) of every registry line."""
    from configs import registry as ours
    from models.registry import ENCODERS, PROJECTORS, Registry

    lines = []
    for table in (ENCODERS, PROJECTORS, *(value for value in vars(ours).values() if isinstance(value, Registry))):
        for name, line in table._lines.items():
            module, _, attribute = line.partition(":")
            path = ROOT / f"models{module}".replace(".", "/") if module.startswith(".") else ROOT / module.replace(".", "/")
            file = path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")
            lines.append((f"{table.kind} {name}: {line}", file, attribute))
    return lines


def test_every_registry_line_names_something_that_exists():
    assert [line for line, path, name in registry_lines() if not path.exists() or name not in top_level_names(path)] == []


def test_components_never_import_a_registry():
    """A component is found through its registry line, never the other way round; a composite one looks its parts up when it is built."""
    components = {path for _, path, _ in registry_lines() if path.exists()}
    faults = {place(p) for p in components for _, name, level in module_level_imports(p) if absolute(p, name, level).split(".")[1:2] == ["registry"]}
    assert faults == set()


def module_level_imports(path: Path) -> Iterator[tuple[ast.stmt, str, int]]:
    top = {id(node) for node in tree(path).body}
    return (found for found in imports(path) if id(found[0]) in top)


def top_level_names(path: Path) -> set[str]:
    names = set()
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def test_files_are_short():
    assert [f"{place(p)} has {lines_in(p)} lines" for p in SOURCES + TESTS if lines_in(p) >= MAX_FILE] == []
    if (ROOT / "train.py").exists():
        assert lines_in(ROOT / "train.py") <= MAX_TRAIN


def test_functions_are_short():
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [(path, node) for path in SOURCES + TESTS for node in ast.walk(tree(path)) if isinstance(node, kinds)]
    long = [(path, node, node.end_lineno - node.lineno + 1) for path, node in found]
    assert [f"{place(path, node)} {node.name} has {length} lines" for path, node, length in long if length >= MAX_FUNCTION] == []


def test_tests_are_at_least_half_as_long_as_the_source():
    source, tests = sum(map(lines_in, SOURCES)), sum(map(lines_in, TESTS))
    assert tests >= source / 2, f"{tests} lines of tests for {source} lines of source"


def test_names_say_what_is_inside():
    assert [place(path) for path in SOURCES + TESTS if path.stem in VAGUE_NAMES or path.parent.name in VAGUE_NAMES] == []


def on(call: ast.Call, argument: str) -> bool:
    """Is a keyword argument given as anything but a plain False?"""
    return any(k.arg == argument and not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in call.keywords)


def call_faults(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in FORBIDDEN_CALLS or GLOBAL_RANDOM.match(name) or on(node, "shell") or on(node, "allow_pickle"):
                yield f"{place(path, node)} {name}"
        elif isinstance(node, ast.Subscript) and dotted(node.value) == "os.environ" and isinstance(node.ctx, ast.Load):
            yield f"{place(path, node)} os.environ"
    for node, name, level in imports(path):
        if not level and name.split(".")[0] in FORBIDDEN_MODULES:
            yield f"{place(path, node)} import {name}"


def test_no_pickle_no_shell_no_evaluated_text_no_global_randomness_no_environment_variables():
    assert [fault for path in SOURCES for fault in call_faults(path)] == []


def catches_everything(node: ast.ExceptHandler) -> bool:
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or dotted(kind) in {"Exception", "BaseException"} for kind in caught)


def test_exceptions_are_named_except_at_the_three_boundaries():
    handlers = [(p, n) for p in SOURCES for n in ast.walk(tree(p)) if isinstance(n, ast.ExceptHandler) and catches_everything(n)]
    assert [place(path, node) for path, node in handlers if not CATCH_ALL.match(path.relative_to(ROOT).as_posix())] == []


def test_no_unfinished_marks_and_no_private_paths():
    folders = [*PACKAGES, "tests", "docs", ".ci"]
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    files += [path for path in sorted(ROOT.iterdir()) if path.is_file()]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in TEXT}
    assert [f"{place(path)} {word}" for path, text in texts.items() for word in FORBIDDEN_WORDS if word in text] == []


def test_importing_a_package_does_no_work():
    """Top-level statements are definitions, constants and guarded optional imports: no loop, no `with`, no bare call."""
    faults = []
    for path in SOURCES:
        for node in tree(path).body:
            call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            registers = call and dotted(node.value.func).endswith((".register", ".register_for_auto_class"))
            if isinstance(node, ast.For | ast.While | ast.With) or (call and not registers):
                faults.append(place(path, node))
    assert [fault for fault in faults if "__main__" not in fault] == []
