"""Models of others: none of their code runs, nobody is asked, and what is damaged is named."""

import ast
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.errors import ModelError
from workbench.paths import data_folder

PACKAGE = Path(wb.__file__).parent
DEEP = "[" * 10**5
LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the embedded model, in a process whose standard input says yes to everything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    return shutil.copytree(data_folder() / "tiny", tmp_path / "model")


def edit(folder, name, **fields):
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | fields))


# ---- code that comes with a model


def evil(folder):
    """A module that leaves a file behind when it is imported."""
    (folder / "evil.py").write_text(
        f"open({str(folder / 'ran')!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class Config(LlamaConfig): model_type = 'evil'\n"
        "class Model(LlamaForCausalLM): pass\n"
        "class Tokenizer(PreTrainedTokenizerFast): pass\n"
    )


MODEL_CODE = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
ELSEWHERE = {"AutoConfig": "evil/repository--evil.Config"}
TOKENIZER_CODE = {"AutoTokenizer": ["evil.Tokenizer", None]}
CODE = {
    "of the model": lambda f: edit(f, "config.json", model_type="evil", auto_map=MODEL_CODE),
    "in another repository": lambda f: edit(f, "config.json", model_type="x", auto_map=ELSEWHERE),
    "that is no map": lambda f: edit(f, "config.json", model_type="evil", auto_map=5),
    "of the tokenizer": lambda f: edit(
        f, "tokenizer_config.json", tokenizer_class="Evil", auto_map=TOKENIZER_CODE
    ),
    "of the tokenizer, as it was": lambda f: edit(
        f, "tokenizer_config.json", tokenizer_class="Evil", auto_map=["evil.Tokenizer", None]
    ),
    "of a tokenizer without a class": lambda f: edit(
        f, "tokenizer_config.json", tokenizer_class=None, auto_map=TOKENIZER_CODE
    ),
}


@pytest.mark.parametrize("change", CODE.values(), ids=CODE)
def test_code_of_its_own_is_refused_without_a_question(folder, change):
    evil(folder)
    change(folder)
    with pytest.raises(ModelError, match=rf"{folder}: the \w+ is code of its own .* never run"):
        wb.load(folder, device="cpu")
    assert sys.stdin.tell() == 0
    assert not (folder / "ran").exists()


KNOWN = {
    "of the model": lambda f: edit(f, "config.json", auto_map=MODEL_CODE),
    "of the tokenizer": lambda f: edit(
        f, "tokenizer_config.json", tokenizer_class="TokenizersBackend", auto_map=TOKENIZER_CODE
    ),
}


@pytest.mark.parametrize("change", KNOWN.values(), ids=KNOWN)
def test_code_beside_a_class_of_transformers_is_left_out_with_a_word(folder, change, tiny, caplog):
    evil(folder)
    change(folder)
    assert wb.load(folder, device="cpu").fingerprint() == tiny.fingerprint()
    assert "its own code" in caplog.text
    assert sys.stdin.tell() == 0
    assert not (folder / "ran").exists()


def test_a_generation_of_its_own_is_not_run(folder, tiny):
    (folder / "custom_generate").mkdir()
    evil(folder)
    shutil.copy(folder / "evil.py", folder / "custom_generate" / "generate.py")
    edit(folder, "generation_config.json", custom_generate="evil/evil", auto_map=MODEL_CODE)
    model = wb.load(folder, device="cpu")
    assert wb.generate(model, ["Hi."], max_new_tokens=3) == wb.generate(
        tiny, ["Hi."], max_new_tokens=3
    )
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("beside", [True, False])
def test_an_adapter_is_not_put_on_unseen(folder, beside):
    edit(
        folder, "adapter_config.json", base_model_name_or_path="evil/evil", peft_type="LORA",
        auto_mapping={"base_model_class": "Model", "parent_library": "evil"},
        megatron_core="evil", megatron_config={"a": 1},
    )  # fmt: skip
    if not beside:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds a PEFT adapter.*PeftModel\.from_pretrained"):
        wb.load(folder)


def test_a_kernel_from_the_hub_is_refused(folder):
    edit(folder, "config.json", attn_implementation="evil/kernel")
    with pytest.raises(ModelError, match="asks for a kernel from the hub"):
        wb.load(folder)


def test_nobody_is_asked_in_a_process_of_its_own(folder):
    evil(folder)
    CODE["of the model"](folder)
    done = subprocess.run(
        [sys.executable, "-c", "import sys, workbench as wb; wb.load(sys.argv[1])", folder],
        input="y\n" * 100, capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert "ModelError" in done.stderr.splitlines()[-1]
    assert "[y/N]" not in done.stdout + done.stderr
    assert not (folder / "ran").exists()


def test_every_call_of_the_package_says_so():
    """`trust_remote_code=False` in each `Auto*` call; pickles are read as weights only."""
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            said = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
            name = ast.unparse(call.func)
            if name.startswith(("Auto", "kind.")) and name.rpartition(".")[2] in (
                "from_pretrained", "from_config",
            ):  # fmt: skip
                assert said.get("trust_remote_code") is False, f"{path}:{call.lineno}"
            assert name not in ("pickle.load", "pickle.loads"), path
            if name == "torch.load":
                assert said.get("weights_only") is True, f"{path}:{call.lineno}"
            if name in ("np.load", "numpy.load"):
                assert said.get("allow_pickle") is False, f"{path}:{call.lineno}"


# ---- files that are damaged


def text(name, content):
    return lambda f: (f / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def weights(change):
    def write(folder):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})

    return write


def raw(header, body=b"\0" * 4):
    def write(folder):
        content = header if isinstance(header, bytes) else json.dumps(header).encode()
        size = struct.pack("<Q", len(content))
        (folder / "model.safetensors").write_bytes(size + content + body)

    return write


def index(content, name="model.safetensors.index.json"):
    def write(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    return write


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def pickled(save, name="pytorch_model.bin"):
    def write(folder):
        (folder / "model.safetensors").unlink()
        save(folder / name)

    return write


def outside(folder):
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    names = load_file(folder.parent / "outside.safetensors")
    places = {"weight_map": dict.fromkeys(names, "../outside.safetensors"), "metadata": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(places))


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def truncated(folder, name="model.safetensors"):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
DAMAGED = {
    **{f"{name}, {kind}": (text(name, content), f"{name}.*{message}")
       for name in ("config.json", "generation_config.json", "tokenizer_config.json",
                    "tokenizer.json", "special_tokens_map.json")
       for kind, content, message in (
           ("deep", DEEP, "levels deep"), ("no JSON", "{", ""), ("a list", "[]", "no JSON object"),
           ("digits", '{"a": ' + "9" * 5000 + "}", "5000 digits"),
           ("UTF-16", b"\xff\xfe{\0", "UTF"),
           ("1e999", '{"a": 1e999}', "too large"), ("twice", '{"a": 1, "a": 2}', "there twice"),
       )},
    "width as text": (lambda f: edit(f, "config.json", hidden_size="64"), "hidden_size"),
    "no heads": (lambda f: edit(f, "config.json", num_attention_heads=0), ""),
    "too wide": (lambda f: edit(f, "config.json", hidden_size=10**12), ""),
    "negative depth": (lambda f: edit(f, "config.json", num_hidden_layers=-1), ""),
    "endless depth": (lambda f: edit(f, "config.json", num_hidden_layers=10**9), "0 layers"),
    "fewer layers": (lambda f: edit(f, "config.json", num_hidden_layers=1), "no place in"),
    "more layers": (lambda f: edit(f, "config.json", num_hidden_layers=9), "missing .*random"),
    "quantised as text": (lambda f: edit(f, "config.json", quantization_config="x"), ""),
    "tokenizer, half": (lambda f: truncated(f, "tokenizer.json"), r"tokenizer\.json"),
    "tokenizer, no model": (text("tokenizer.json", '{"model": {"type": "No"}}'), ""),
    "no weights": (no_weights, "weights cannot be loaded"),
    "weights, half": (truncated, "damaged"),
    "weights, empty": (text("model.safetensors", b""), "damaged"),
    "header too long": (text("model.safetensors", struct.pack("<Q", 2**62) + b"{}"), "damaged"),
    "header deep": (raw(DEEP.encode()), "damaged"),
    "header lies": (raw({"a": {**F32, "shape": [10**9]}}), "damaged"),
    "header overlaps": (raw({"a": F32, "b": F32}), "damaged"),
    "weight missing": (weights(lambda t: t.pop(LAYER)), rf"1 weights are missing \({LAYER}"),
    "bias without a place": (
        weights(lambda t: t.update({LAYER.replace("weight", "bias"): torch.zeros(64)})), "no place",
    ),
    "weight of another shape": (weights(lambda t: t.update({LAYER: torch.zeros(3, 3)})), ""),
    "whole numbers": (weights(lambda t: t.update({LAYER: t[LAYER].long()})), "I64, not floating"),
    "truth values": (weights(lambda t: t.update({LAYER: t[LAYER] > 0})), "BOOL, not floating"),
    "no weight at all": (weights(dict.clear), "missing"),
    "index, deep": (index(DEEP), "levels deep"),
    "index, empty": (index({}), "no weight_map"),
    "index, numbers": (index({"weight_map": {"a": 1}}), "no weight_map"),
    "index, absent": (index({"metadata": {}, "weight_map": {"a": "no.safetensors"}}), "not there"),
    "index, outside": (outside, "outside the folder"),
    "index, absolute": (index({"weight_map": {"a": "/etc/passwd"}}), "outside the folder"),
    "index of pickles": (
        index({"weight_map": {"a": "../b.bin"}}, "pytorch_model.bin.index.json"), "outside",
    ),
    "pickle": (pickled(lambda p: torch.save({"a": Trap()}, p)), "cannot be loaded"),
    "pickle, old": (
        pickled(lambda p: torch.save({"a": Trap()}, p, _use_new_zipfile_serialization=False)),
        "cannot be loaded",
    ),
    "pickle, bare": (pickled(lambda p: p.write_bytes(pickle.dumps(Trap()))), "cannot be loaded"),
    "pickle of a list": (pickled(lambda p: torch.save([torch.zeros(2)], p)), "cannot be loaded"),
    "link to itself": (
        pickled(lambda p: p.symlink_to(p), "model.safetensors"), "",
    ),
    "TensorFlow": (pickled(lambda p: p.write_bytes(b"x"), "tf_model.h5"), "cannot be loaded"),
    "sidecar absent": (lambda f: edit(f, "config.json", workbench_sidecar=True), "is missing"),
    **{
        f"sidecar, {kind}": (
            lambda f, t=tensors: (
                edit(f, "config.json", workbench_sidecar=True),
                save_file(t, f / "workbench_biases.safetensors"),
            ),
            "damaged or of another model",
        )
        for kind, tensors in (
            ("no such layer", {"model.nope": torch.zeros(3)}),
            ("another width", {"model.layers.0.self_attn.o_proj": torch.zeros(3)}),
            ("NaN", {"model.layers.0.self_attn.o_proj": torch.full((64,), float("nan"))}),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_named(folder, change, message):
    change(folder)
    with pytest.raises(ModelError, match=rf"(?s){folder}.*{message}"):
        wb.load(folder, device="cpu")


def test_a_pickle_of_tensors_alone_is_read(folder, tiny):
    tensors = load_file(folder / "model.safetensors")
    no_weights(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    assert wb.load(folder, device="cpu").fingerprint() == tiny.fingerprint()


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "config.json"])
def test_a_file_is_no_model(folder, name):
    (folder / name).touch()
    with pytest.raises(ModelError, match=rf"{name} is a file, and no GGUF; give the folder"):
        wb.load(folder / name)
