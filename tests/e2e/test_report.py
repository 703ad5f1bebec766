"""`report`: the page shows what the files hold, escaped, and asks a browser for nothing more."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import browser

HOSTILE = "<script>alert('x')</script>\"'&<img src=http://example.com/x.png onerror=alert(1)>"


class Page(HTMLParser):
    """What is on a page: elements by name, the numbers of every section, its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.values, self.words = [], [], {}, []
        self.section = ""
        self.feed(text)

    def handle_starttag(self, name, attrs):
        attributes = dict(attrs)
        self.tags.append(name)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if name == "section":
            self.section = attributes["id"]
        if name == "data":
            self.values.setdefault(self.section, []).append(float(attributes["value"]))
        if name == "circle" and "data-y" in attributes:
            point = (float(attributes["data-x"]), float(attributes["data-y"]))
            self.values.setdefault(f"{self.section} points", []).append(point)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def bench_result(name="AMD EPYC", backend="ort", models=("model.onnx", "small.onnx")):
    rows = [
        {
            "model": model,
            "batch_size": batch,
            "images_per_s": 1000.5 * (k + 1) * batch**0.5,
            "latency_ms": {"median": 1.25, "p90": 1.5, "iqr": 0.0625},
            "speedup": None if k == 0 else 1.75,
            "noisy": False,
            "runs": [1.125, 1.25, 1.375],
        }
        for batch in (1, 8, 32)
        for k, model in enumerate(models)
    ]
    told = {"schema": 1, "machine": {"name": name}, "backend": backend, "threads": 2}
    return {**told, "seconds": 3.0, "models": [{"model": m} for m in models], "rows": rows}


TRAINED = ("finetune", "small.onnx", "--data", "digits.npz", "--epochs", "5", "--out", "tuned.onnx")


def training_log():
    epochs = [
        {
            "epoch": k,
            "loss": 1 / k,
            "val_top1": 80.0 + k,
            "coverage": {"a": 0.5 + 0.01 * k, "b": 0.75, "c": 0.875},
        }
        for k in range(1, 6)
    ]
    told = {"schema": 1, "source": {"path": "model.onnx"}, "settings": {}, "result": {}}
    return told | {"epochs": epochs, "command": ["reprune-onnx", *TRAINED]}


@pytest.fixture
def files(call, pair, digits, tmp_path, monkeypatch):
    """One result file of every kind, most of them made by the commands themselves."""
    monkeypatch.chdir(tmp_path)
    model, pruned = pair
    images = ("--data", digits, "--preprocess", "scale=1/16", "-q")
    for name, file in (("model", model), ("small", pruned)):
        assert call("evaluate", file, *images, "--json", f"{name}.eval.json").code == 0
    assert call("analyze", model, "--json", "analysis.json", "-q").code == 0
    how = ("--macs-reduction", "0.2,0.4", "--method", "l1,l2", "--recover", "none", "-q")
    assert call("sweep", model, *how, "-o", "sweep").code == 0
    for name, content in (("bench", bench_result()), ("tuned.training", training_log())):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    names = ("small.report", "model.eval", "small.eval", "analysis", "bench", "tuned.training")
    return [Path(f"{name}.json") for name in names] + [Path("sweep/sweep.json")]


def loaded(path):
    return json.loads(Path(path).read_text())


def check_numbers(page, files):
    """The numbers of the page are those of the files."""
    report, analysis, bench = (loaded(files[k]) for k in (0, 3, 4))
    shown = page.values["pruning-0"]
    for name in ("macs", "params", "bytes"):
        before = shown.index(report["before"][name])
        assert shown[before + 1] == report["after"][name]
    assert report["requested"]["sparsity"] in shown
    assert report["achieved"]["sparsity"] in shown
    layers = [value for layer in report["layers"] for value in layer["out_channels"]]
    widths = iter(shown)
    assert all(any(value == width for width in widths) for value in layers)
    assert {x["coverage"] for x in report["layers"] if x["coverage"] is not None} <= set(shown)
    assert [x["channels"] for x in analysis["locked"]] == page.values["analysis-0"][1:]
    accuracies = [loaded(f)["top1"] for f in files[1:3]]
    assert [v for v in page.values["accuracy"] if v in accuracies] == accuracies
    speeds = [(row["batch_size"], row["images_per_s"]) for row in bench["rows"]]
    assert sorted(page.values["throughput points"]) == sorted(speeds)
    assert {speed for _, speed in speeds} <= set(page.values["throughput"])
    epochs = loaded(files[5])["epochs"]
    wanted = [(e["epoch"], e[key]) for key in ("val_top1", "loss") for e in epochs]
    assert page.values["training-0 points"] == wanted
    rows = loaded(files[6])["rows"]
    assert {row["achieved"]["macs_reduction"] for row in rows} <= set(page.values["sweep-0"])


def test_the_page_holds_the_numbers_of_the_files(call, files):
    result = call("report", *files, "-o", "page.html")
    assert (result.code, result.err) == (0, "")
    text = Path("page.html").read_text()
    page = Page(text)
    check_numbers(page, files)
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in text and "@import" not in text
    changed = loaded(files[0]) | {"after": {**loaded(files[0])["after"], "macs": 12345}}
    files[0].write_text(json.dumps(changed))
    with pytest.raises(AssertionError):
        check_numbers(page, files)


def test_a_browser_shows_the_same_and_asks_for_nothing(call, files, tmp_path):
    browser.find()
    assert call("report", *files, "-o", "page.html").code == 0
    seen = browser.visit(tmp_path / "page.html", tmp_path)
    check_numbers(Page(seen.dom), files)
    assert seen.console == []
    assert seen.requests == []


def test_the_browser_would_have_told(tmp_path):
    """A page that complains and that asks for a file elsewhere, beside which silence means much."""
    page = tmp_path / "bad.html"
    image = "<img src='http://127.0.0.1:9/x.png'>"
    page.write_text(f"<!doctype html><script>console.error('no')</script>{image}")
    seen = browser.visit(page, tmp_path)
    assert any("no" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]


def test_the_commands_on_the_page_give_the_same_numbers(call, files):
    """The pruning is done again, from the words on the page, into another file."""
    assert call("report", *files, "-o", "page.html").code == 0
    text = Path("page.html").read_text().partition("Commands to repeat it")[2]
    lines = re.findall(r"<div>(<span>.*?)</div>", text)
    words = [re.findall(r"<span>(.*?)</span>", line) for line in lines]
    (prune,) = [line for line in words if line[1] == "prune"]
    before = Path(prune[-1]).read_bytes()
    assert prune[-2] == "-o"
    assert call(*prune[1:-1], "again.onnx").code == 0
    assert Path("again.onnx").read_bytes() == before
    (sweep,) = [line for line in words if line[1] == "sweep"]
    folder = sweep.index("--out") + 1
    assert sweep[folder] == "sweep"
    sweep[folder] = "again"
    assert call(*sweep[1:]).code == 0
    assert small_facts("again") == small_facts("sweep")
    assert ["reprune-onnx", *TRAINED] in words
    kinds = {"prune", "evaluate", "bench", "finetune", "sweep", "report"}
    assert {line[1] for line in words} == kinds


def small_facts(folder):
    """What a sweep found that does not depend on the machine's speed."""
    rows = loaded(Path(folder) / "sweep.json")["rows"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_names_from_a_file_are_text(call, files, tmp_path):
    report, bench, log = (loaded(files[k]) for k in (0, 4, 5))
    report["source"]["path"] = f"{HOSTILE}.onnx"
    report["layers"][0]["node"] = HOSTILE
    report["locked"][0]["node"] = report["locked"][0]["reason"] = HOSTILE
    report["notes"] = [HOSTILE]
    report["settings"]["include"] = [HOSTILE]
    report["requested"] = {HOSTILE: 0.5}
    bench["machine"]["name"] = bench["backend"] = HOSTILE
    bench["rows"][0]["model"] = HOSTILE.replace("/", "")
    log["source"]["path"] = HOSTILE
    log["command"] = [HOSTILE]
    sweep = loaded(files[6])
    sweep["rows"][0]["method"] = sweep["model"] = HOSTILE
    hostile = []
    for k, content in enumerate((report, bench, log, sweep)):
        hostile.append(tmp_path / f"<script>{k}.json")
        hostile[-1].write_text(json.dumps(content))
    assert call("report", *hostile, "-o", "page.html", "--title", HOSTILE).code == 0
    text = Path("page.html").read_text()
    page = Page(text)
    assert not {"script", "img"} & set(page.tags)
    assert "<script" not in text
    assert page.text.count("<script>alert('x')</script>") >= 8
    assert page.addresses == []


def test_machines_stand_side_by_side_and_the_papers_wait_for_their_own_files(call, tmp_path):
    machines = {"cpu": "AMD EPYC", "big": "NVIDIA RTX A6000", "small": "NVIDIA Jetson TX2"}
    paths = [tmp_path / f"{name}.json" for name in machines]
    for path, machine in zip(paths, machines.values(), strict=True):
        path.write_text(json.dumps(bench_result(machine, "tensorrt")))
    for count, empty in ((1, ["A6000", "TX2"]), (2, ["TX2"]), (3, [])):
        page = tmp_path / f"{count}.html"
        assert call("report", *paths[:count], "-o", page).code == 0
        parsed = Page(page.read_text())
        assert len(parsed.values["throughput points"]) == 6 * count
        assert parsed.text.count("Not measured") == len(empty)
        assert ("reprune-onnx build" in " ".join(parsed.text.split())) == ("A6000" in empty)
        assert ("bundle" in parsed.text) == ("TX2" in empty)


MEASURES = [  # task, what was measured by epoch, what the page calls it
    ("classification", "top1", "top-1"),
    ("classification", "agreement", "agreement"),
    ("semantic-segmentation", "mean_iou", "mean IoU"),
    ("semantic-segmentation", "agreement_mean_iou", "mean IoU with the original"),
    ("regression", "rmse", "RMSE"),
    ("regression", "agreement_relative_error", "relative distance from the original"),
    ("multi-label", "mean_ap", "mean AP"),
    ("multi-label", "agreement", "labels as the original"),
]


def log_of(task, **scores):
    """A training's log of two epochs, with the scores of each."""
    told = {"schema": 1, "source": {"path": "m.onnx"}, "settings": {}, "result": {}, "task": task}
    epochs = [{"epoch": k, **{key: value + k for key, value in scores.items()}} for k in (1, 2)]
    return told | {"epochs": epochs, "command": None}


@pytest.mark.parametrize(("task", "key", "title"), MEASURES)
def test_a_training_has_the_curve_of_its_task(call, tmp_path, task, key, title):
    log = log_of({"kind": task}, **{f"val_{key}": 30.5, "loss": 0.25, "val_loss": 0.75})
    (tmp_path / "m.training.json").write_text(json.dumps(log))
    assert call("report", tmp_path / "m.training.json", "-o", tmp_path / "page.html").code == 0
    page = Page((tmp_path / "page.html").read_text())
    wanted = [(k, first + k) for first in (30.5, 0.25, 0.75) for k in (1, 2)]
    assert page.values["training-0 points"] == wanted
    assert f"{title[0].upper()}{title[1:]} by epoch" in page.text
    assert f"validation {title} at the end" in page.text
    assert 32.5 in page.values["training-0"]


@pytest.mark.parametrize("task", [{"kind": None}, {"kind": "unheard of"}, None, "words", {}])
def test_a_training_without_a_known_task_has_its_loss(call, tmp_path, task):
    (tmp_path / "m.training.json").write_text(
        json.dumps(log_of(task, val_top1=30.5, val_loss=0.75, loss=0.25))
    )
    assert call("report", tmp_path / "m.training.json", "-o", tmp_path / "page.html").code == 0
    page = Page((tmp_path / "page.html").read_text())
    wanted = [(k, first + k) for first in (0.25, 0.75) for k in (1, 2)]
    assert page.values["training-0 points"] == wanted


def test_the_result_of_a_bundle(call, tmp_path):
    """As the bundle's script writes it: models by name, energy, what failed on the device."""
    result = bench_result("Jetson TX2 (quill)", "tensorrt", ("resnet.v1 fp16", "pruned.v1 fp16"))
    result["models"] = [{"name": "resnet.v1", "source": {"sha256": "0"}, "pruned_from": None}]
    result["failed"] = [
        {"model": "big", "precision": "fp32", "batch_size": 64, "reason": "no room"}
    ]
    del result["threads"], result["seconds"]
    for row in result["rows"]:
        row |= {"energy_per_image_j": 0.3125, "peak_memory_mb": 777, "throttled": True}
        del row["speedup"]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(result))
    assert call("report", path, "-o", tmp_path / "page.html").code == 0
    page = Page((tmp_path / "page.html").read_text())
    assert page.values["throughput"].count(0.3125) == page.values["throughput"].count(777) == 6
    for text in ("big fp32, batch 64: no room", "throttled", "resnet.v1 fp16", "pruned.v1 fp16"):
        assert text in page.text
    assert "Jetson TX2" in page.text and page.text.count("Not measured") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 7}, "schema 7, and this version reads schema 1"),
        ({"rows": [{"model": "m"}]}, "rows[0] has no 'batch_size'"),
        ({"rows": [{"model": 3, "batch_size": 1}]}, "'rows[0].model' is '3'"),
        ({"rows": {}}, "'rows' is '{}'"),
        ({"machine": None, "rows": None}, "'rows' is 'None'"),
    ],
)
def test_files_of_another_schema(refuses, tmp_path, change, says):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench_result() | change))
    refuses("report", path, "-o", tmp_path / "page.html", says=(str(path), says))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds no JSON object"),
        ('{"a": 1}', "is no result that a report shows"),
        ('{"n": NaN, "agreement": 1}', "NaN is no number"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_files_that_are_no_results(refuses, tmp_path, text, says):
    path = tmp_path / "x.json"
    path.write_text(text)
    refuses("report", path, "-o", tmp_path / "page.html", says=(says,))


def test_where_the_page_goes(refuses, call, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench_result()))
    refuses("report", path, "-o", tmp_path, says=("is a folder",))
    refuses("report", path, "-o", path, "--force", says=("is read, so it is never",))
    refuses("report", path, "-o", tmp_path / "none" / "page.html", says=("cannot write",))
    refuses("report", tmp_path / "none.json", "-o", tmp_path / "p.html", says=("cannot read",))
    assert call("report", path, "-o", tmp_path / "page.html").code == 0
    refuses("report", path, "-o", tmp_path / "page.html", says=("--force",))
    assert call("report", path, "-o", tmp_path / "page.html", "--force").code == 0
