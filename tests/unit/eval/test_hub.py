"""A data set of the hub becomes files: bytes as they were uploaded, rows that the benchmarks read, nothing outside of the folder."""

import io
import json

import pytest

from eval.__main__ import main
from eval.benchmarks.base import Wanted
from eval.benchmarks.mathvista import MathVista
from eval.benchmarks.processbench import ProcessBench
from eval.hub import ending, fetch

datasets = pytest.importorskip("datasets")


def png(shade: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def mathvista(tmp_path, **changes):
    """A local folder in the hub's form: one parquet file of MathVista rows, one of which may be changed."""
    rows = [
        {"pid": str(i), "question": "How many?", "image": f"images/{i}.png", "decoded_image": {"bytes": png(i), "path": None}, "choices": None,
         "unit": None, "precision": None, "answer": str(i), "question_type": "free_form", "answer_type": "integer", "metadata": {"task": "t"}}
        for i in range(3)
    ]  # fmt: skip
    rows[1] |= changes
    text = datasets.Value("string")
    kinds = dict.fromkeys(rows[0], text) | {"decoded_image": datasets.Image(), "precision": datasets.Value("float64"), "metadata": {"task": text}}
    kinds["choices"] = datasets.Sequence(text) if hasattr(datasets, "Sequence") else datasets.List(text)
    table = datasets.Dataset.from_list(rows, features=datasets.Features(kinds))
    folder = tmp_path / "hub"
    folder.mkdir()
    table.to_parquet(str(folder / "test-00000-of-00001.parquet"))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_rows_and_bytes_land_where_the_benchmark_reads_them(tmp_path):
    path = fetch(str(mathvista(tmp_path)), tmp_path / "out", "test", media={"decoded_image": "image"})
    assert path == tmp_path / "out" / "test.jsonl"
    assert (tmp_path / "out" / "images" / "2.png").read_bytes() == png(2)
    records = MathVista(path=path).load(Wanted())
    assert {r.id: r.answer for r in records} == {"0": ["0"], "1": ["1"], "2": ["2"]}
    before = path.read_bytes()
    fetch(str(tmp_path / "hub"), tmp_path / "out", "test", media={"decoded_image": "image"})
    assert path.read_bytes() == before  # again gives the same


def test_a_folder_that_was_fetched_into_is_one_that_the_benchmark_reads(tmp_path):
    """The commands of docs/benchmarks/mathvista.md and processbench.md, then the folder they name as the benchmark's."""
    fetch(str(mathvista(tmp_path)), tmp_path / "mathvista", "test", media={"decoded_image": "image"})
    for bench in (MathVista(path=tmp_path / "mathvista"), MathVista(variant="test", path=tmp_path / "mathvista"), MathVista(path=tmp_path)):
        assert bench.gold_path(bench.path) == tmp_path / "mathvista" / "test.jsonl"
    assert len(MathVista(path=tmp_path / "mathvista").load(Wanted())) == 3

    (tmp_path / "steps" / "data").mkdir(parents=True)
    for subset in ("gsm8k", "math"):
        rows = [
            {"id": f"{subset}-{i}", "generator": "g", "problem": "p", "steps": ["a", "b"], "final_answer_correct": True, "label": i - 1}
            for i in range(2)
        ]
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "steps" / "data" / f"{subset}-00000-of-00001.parquet"))
    for subset in ("gsm8k", "math"):
        fetch(str(tmp_path / "steps"), tmp_path / "processbench", subset)
    assert {r.meta["subset"] for r in ProcessBench(path=tmp_path / "processbench").load(Wanted())} == {"gsm8k", "math"}
    assert ProcessBench().gold_path(tmp_path) == tmp_path / "processbench"
    (one, two) = ProcessBench(variant="math", path=tmp_path / "processbench").load(Wanted())
    assert {one.id, two.id} == {"math-0", "math-1"}


def test_media_without_a_path_of_their_own_get_one(tmp_path):
    path = fetch(str(mathvista(tmp_path)), tmp_path / "out", "test")
    row = json.loads(path.read_text().splitlines()[2])
    assert row["decoded_image"] == "media/000002-decoded_image.png" and (tmp_path / "out" / row["decoded_image"]).read_bytes() == png(2)


def test_paths_stay_inside(tmp_path):
    with pytest.raises(ValueError, match="leads out of"):
        fetch(str(mathvista(tmp_path, image="../../evil.png")), tmp_path / "out", "test", media={"decoded_image": "image"})
    assert not (tmp_path / "evil.png").exists()


def test_mistakes_are_named(tmp_path, capsys):
    folder = mathvista(tmp_path)
    with pytest.raises(ValueError, match="'pid' is no column of media"):
        fetch(str(folder), tmp_path / "out", "test", media={"pid": "image"})
    assert main(["fetch", str(folder), "--split", "nosuch", "--out", str(tmp_path / "out")]) == 2
    assert "nosuch" in capsys.readouterr().err


@pytest.mark.parametrize(
    "held, end", [({"path": "a/B.JPG", "bytes": b""}, ".jpg"), ({"path": None, "bytes": b"fLaC.."}, ".flac"), ({"bytes": b""}, ".bin")]
)
def test_endings(held, end):
    assert ending(held) == end
