"""GGUF files: the weights are exact, each file is converted once, what is wrong is named."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

import workbench as wb
from tests.helpers.gguf_toys import SENTENCEPIECE, TEMPLATE, dequantised, load, made, write
from workbench.errors import ModelError
from workbench.models import gguf_files
from workbench.models.templates import render

CHAT = [{"role": "user", "content": "hi"}]
FAMILIES = ("llama", "qwen2")


pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("quant", ["F32", "F16", "Q4_1", "Q5_0", "Q8_0"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_that_were_stored(family, quant, tmp_path):
    model = load(write(tmp_path / "toy.gguf", family, quant))
    weights = dict(model.hf.named_parameters())
    for name, weight in made(family).named_parameters():
        assert torch.equal(dequantised(weight, name, family, quant), weights.pop(name)), name
    assert not weights


@pytest.mark.parametrize("family", FAMILIES)
def test_all_is_as_transformers_reads_the_file(family, tmp_path, caplog):
    path = write(tmp_path / "toy.gguf", family, "Q4_1")
    model = load(path)
    assert not caplog.records
    own = {"pretrained_model_name_or_path": tmp_path, "gguf_file": path.name}
    hf = AutoModelForCausalLM.from_pretrained(
        **own, quantization_config=GgufConfig(dequantize=True)
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(**own)
    ids = tokenizer("test a\n\ntest", return_tensors="pt")["input_ids"]
    assert model.tokenizer("test a\n\ntest")["input_ids"] == ids[0].tolist()
    assert torch.equal(model.hf(ids).logits, hf(ids).logits)
    assert hf.dtype == model.hf.dtype == torch.float32
    text = tokenizer.decode(hf.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :])
    assert wb.generate(model, ["test a\n\ntest"], max_new_tokens=8)[0][0] == text
    assert model.tokenizer.chat_template == tokenizer.chat_template == TEMPLATE
    assert model.hf.generation_config.eos_token_id == 0
    assert wb.save_checkpoint(model, tmp_path / "out") == 0.0


@pytest.mark.parametrize("name", ["toy.gguf", "sha256-abc", "TOY.GGUF"])
def test_the_first_load_and_the_later_ones_are_one_model(name, path, tmp_path, monkeypatch):
    path = path.rename(tmp_path / name)
    first = load(path)
    monkeypatch.setattr(gguf_files, "_convert", None)
    again = load(str(path))
    assert first.identity() == again.identity()


def test_another_file_of_the_same_name_is_another_model(path):
    before = load(path).fingerprint()
    write(path, quant="Q8_0")
    assert load(path).fingerprint() != before


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "flipped": flip,
}


def test_a_damaged_cache_is_made_again(path, cache, caplog):
    wanted = load(path).identity()
    (folder,) = (f for f in cache.iterdir() if f.is_dir())
    files = [*sorted(folder.iterdir()), *[folder / "model.safetensors"] * 3]
    for i, file in enumerate(files):
        caplog.clear()
        list(DAMAGE.values())[i % 4](file)
        assert load(path).identity() == wanted, file
        assert "is damaged; it is made again" in caplog.text


def test_of_several_at_once_one_converts(path, monkeypatch):
    done, convert = [], gguf_files._convert
    monkeypatch.setattr(gguf_files, "_convert", lambda *a: done.append(a) or convert(*a))
    start = threading.Barrier(3)

    def folder(_):
        start.wait()
        return gguf_files.plain_folder(path)

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(folder, range(3)))) == 1
    assert len(done) == 1


def test_a_failed_conversion_leaves_nothing(path, cache, monkeypatch):
    monkeypatch.setattr(gguf_files, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        load(path)
    assert not list(cache.iterdir())


def test_what_lies_beside_the_file_is_not_read(path, tmp_path):
    wanted = load(path).identity()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "chat_template.jinja").write_text("evil")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": ["e.T", null]}}'
    )
    assert load(path).identity() == wanted


LEFT_OUT = {
    "rope_freqs.weight": {"tensors": [("rope_freqs.weight", torch.ones(8).numpy())]},
    "llama.rope.scaling.factor": {"extra": {"llama.rope.scaling.factor": ("float32", 8.0)}},
    "layers in part": {"tensors": [("blk.0.attn_q.bias", torch.ones(64).numpy())]},
    "tokenizer.ggml.pre": {"extra": {"tokenizer.ggml.pre": ("string", "new")}},
    "ggml.pre": {
        "family": "qwen2", "extra": {"tokenizer.ggml.pre": ("string", "mpt")}
    },
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT_OUT)
def test_what_transformers_leaves_out_is_said(what, path, caplog):
    write(path, **LEFT_OUT[what])
    for _ in range(2):
        caplog.clear()
        load(path)
        (record,) = caplog.records
        assert what in record.getMessage()
        assert str(path) in record.getMessage()


def test_texts_are_split_at_digits_where_the_file_asks_for_it(path):
    model = load(path)
    split = Sequence([Digits(True), ByteLevel(add_prefix_space=False)])
    for text in ("\n\n12", "test  1a", "x²\n 3  4"):
        got = model.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
        assert got == split.pre_tokenize_str(text)
    assert model.tokenizer.tokenize("\n\n1") == ["ĊĊ", "1"]


def test_texts_in_pieces_of_sentences(path, tmp_path, caplog):
    write(path, extra=SENTENCEPIECE, drop=["tokenizer.ggml.merges"])
    model = load(path)
    assert not caplog.records
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for text in ("ab a", "  a1", " b", "ä\n12"):
        ids = model.tokenizer(text)["input_ids"]
        assert ids == tokenizer(text)["input_ids"]
        assert ids[0] == 1  # as llama.cpp does where the file does not say otherwise


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}a{% endfor %}{% endfor %}"
TEMPLATES = {
    "endless": (("string", ENDLESS), "does not end"),
    "looking around": (("string", "{{ ''.__class__.__mro__ }}"), "SecurityError"),
    "a number": (("uint32", 5), "chat template fails"),
    "broken": (("string", "{% if"), "chat template fails"),
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_of_the_file_is_bounded(kind, path):
    template, words = TEMPLATES[kind]
    write(path, extra={"tokenizer.chat_template": template})
    with pytest.raises(ModelError, match=words):
        render(load(path).tokenizer, CHAT, "toy")


def test_a_base_model_takes_plain_prompts_and_says_so(path):
    write(path, drop=["tokenizer.chat_template"])
    model = load(path)
    assert wb.generate(model, ["test"], max_new_tokens=2)
    with pytest.raises(ModelError, match=r"no chat template.*pass plain strings"):
        wb.generate(model, [CHAT], max_new_tokens=2)
