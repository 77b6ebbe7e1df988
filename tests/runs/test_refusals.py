"""Every parameter of every paper's notebook: what is wrong is refused before a run starts."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from workbench import hub
from workbench.cli import main
from workbench.errors import ModelError, WorkbenchError
from workbench.papers.registry import PAPERS
from workbench.runs import execute
from workbench.runs.parameters import declared

SEEDS = ("0", "-1", "1.5", "1.0", "1e3", "true", "nan", "", "x", "4294967297", "9" * 5000)
SEED = ("-1", "-5", "4294967296", "1.0", "true", "nan", "", "x")
COUNT = ("-2", "1.0", "2.5", "true", "nan", "", "x", "1e1")
RATE = ("nan", "inf", "-inf", "1e999", "-0.5", "-2", "x", "", "true")
SWITCH = ("yes", "TRUE", "2", "1.0", "", "on")
PATHS = ("nowhere.jsonl", "empty", "damaged.jsonl", "a\0b", "x" * 5000, "hub", "auto")
MODELS = (
    "no/such-model",
    "empty",
    "weightless",
    "tokenless",
    "damaged.jsonl",
    "a b",
    "x" * 5000,
    "a\0b",
    " ",
)
NAMES = ("foo", " ", "Paper", "paper,paper", "\udcff")
ALPHAS = (
    "nan",
    "1,nan",
    "1,,2",
    ",",
    "1,",
    "1,1",
    "1,1.0",
    "0,0",
    "-1",
    "x",
    "inf",
    "1e999",
    "1e+39",
    " ",
    "1;2",
)
LISTS = ("0", "-1", "1,1", "1,,2", ",", "1,", "1.0", "1e1", "x", "nan", "1;2", " ", "9" * 5000)
BAD = {
    "safetylock": {
        "model_id": MODELS, "finetuned_id": MODELS, "seed": SEED, "seeds": SEEDS,
        "lock_path": PATHS[:2], "pairs_path": PATHS, "requests_path": (*PATHS, "harmful.jsonl"),
        "alpha": (*RATE, "-1", "1e+39"),
        "heads": (*COUNT, "-1", "33", "1000000"), "r": (*COUNT, "-1"),
        "selection": NAMES, "draws": (*COUNT, "0"), "alphas": ALPHAS, "repeats": (*COUNT, "0"),
        "pairs": (*COUNT, "0", "9", "1000000"), "validated": (*COUNT, "0", "1000000"),
        "evaluated": (*COUNT, "0", "1000000"), "max_new_tokens": (*COUNT, "0", "1000000"),
        "controlled": (*COUNT, "0", "1000000"), "align_steps": COUNT,
    },
    "pas": {
        "model_id": MODELS, "papi_path": ("nowhere", "damaged.csv", "empty"),
        "answers_path": ("nowhere", "damaged.jsonl", "empty"), "targets": NAMES, "keyed": NAMES,
        "subjects": (*COUNT, "-1", "129", "1000000"), "direction": NAMES,
        "heads": (*COUNT, "0", "33", "1000000"), "alphas": ALPHAS, "folds": (*COUNT, "0", "6"),
        "dpo_subjects": (*COUNT, "11"), "official": SWITCH, "seed": SEED, "seeds": SEEDS,
        "modes": ("pas,pas", "fewshot+pas", "pas,,p2+pas", "pas,fewshot", "PAS", " ", "pas;p2+pas"),
        "controls": (*COUNT, "2"), "items": (*COUNT, "1000000"), "portrait_tokens": (*COUNT, "0"),
    },
    "fpo": {
        "model_id": MODELS, "sae": ("nowhere", "empty", "no.npz", "damaged.jsonl"),
        "hook": ("foo", "blocks.9.hook_resid_post", "blocks.-1.hook_resid_post", " "),
        "force_sae": SWITCH, "pairs_path": PATHS,
        "methods": ("fpo,,dpo", "fpo,fpo", "dpo", "fpo,ppo", ",", "FPO", " ", "fpo;dpo"),
        "alphas": ALPHAS, "beta": (*RATE, "0"), "k": (*COUNT, "0", "257", "1000000"),
        "topk": NAMES, "pool": (*NAMES, "padded"), "reference": NAMES, "steps": COUNT,
        "pairs": (*COUNT, "1000000"), "held_out": (*COUNT, "0", "1000000"),
        "seed": SEED, "seeds": SEEDS, "learning_rate": (*RATE, "0"), "batch": (*COUNT, "0"),
        "max_length": (*COUNT, "0", "1000000"), "warmup": (*COUNT, "30", "1000000"),
        "lora": (*COUNT, "1000000"), "costs": (*COUNT, "2"),
        "train_sae": ("1024", "1024,20000", "a,b,c", "7,20000,1", "64,511,1", "64,2000,4",
                      "64,2000,-1", "64,2000,1,1", "64;2000;1", " ", "64.0,2000,1"),
    },
    "graphhop": {
        "model_id": MODELS, "size": (*NAMES, "FULL"), "methods": ("bm26", "bm25,bm25", "bm25,,bgr"),
        "ablations": SWITCH, "share": SWITCH, "head": (*NAMES, "CLS"),
        "data_path": ("nowhere", "empty"), "tables_path": ("nowhere.csv", "empty", "good.jsonl"),
        **dict.fromkeys(("train", "dev", "test", "epochs"), (*COUNT, "0", "1000001")),
        "pool": (*COUNT, "0", "9", "2001"), "decoys": (*COUNT, "101"), "seed": SEED,
        "hop_questions": (*COUNT, "501"), "largest": (*COUNT, "99", "1000001"),
        "seq2seq_id": MODELS, "reader_id": MODELS, "served_model": ("a-name",),
        "seeds": tuple(value for value in SEEDS if value != "-1"),
    },
    "reasonchainqa": {
        "model_id": MODELS, "size": (*NAMES, "FULL"), "methods": ("bm26", "bm25,bm25", "bm25,,ssg"),
        "types": ("what", "What,What", "What,,Count"), "depths": ("0", "8", "1,1", "1;2", "1.0"),
        "data_path": ("nowhere", "empty"), "tables_path": ("nowhere.csv", "empty", "good.jsonl"),
        **dict.fromkeys(("train", "dev", "test", "epochs"), (*COUNT, "0", "1000001")),
        "pool": (*COUNT, "9", "3001"), "decoys": (*COUNT, "101"), "held_out": (*COUNT, "241"),
        "beam": (*COUNT, "0", "101"), "chain_weight": (*RATE, "1001"), "seed": SEED,
        "answered": (*COUNT, "100001"), "database": (*COUNT, "99", "3001"),
        "seq2seq_id": MODELS, "reader_id": MODELS, "served_model": ("a-name",),
        "seeds": tuple(value for value in SEEDS if value != "-1"),
    },
    "self_verification": {
        "model_id": MODELS, "served_model": ("a-name",), "dataset": (*NAMES, "gsm9k"),
        "data_path": PATHS, "limit": (*COUNT, "-1", "-5", "1000000"),
        "k": (*COUNT, "0"), "p": (*COUNT, "0"), "sc": (*COUNT, "0"), "t_forward": RATE,
        "t_backward": RATE, "verification": NAMES, "max_new_tokens": (*COUNT, "0", "1000000"),
        "shots": (*COUNT, "3"), "chat": ("yes", "2", "1.0", "on"), "official": SWITCH,
        "extraction": NAMES, "seed": SEED, "seeds": SEEDS,
    },
    "neural_comprehension": {
        "model_id": MODELS, "tasks": (*NAMES, "copy,copy", "copy,,parity", ",", "copy;parity"),
        "lengths": (*LISTS, "96"), "digits": (*LISTS, "96"), "flips": (*LISTS, "96"),
        "rows": (*COUNT, "0", "1000001"), "shots": (*COUNT, "9"), "observed": (*COUNT, "51"),
        "stories": (*COUNT, "0"), "texts": (*COUNT, "0", "201"), "repeats": (*COUNT, "0"),
        "max_new_tokens": (*COUNT, "0", "1000000"), "data_path": PATHS, "addsub_path": PATHS,
        "t5_id": ("t5", "a b"),
        "epochs": (*LISTS, "1,2"), "seed": SEED,
    },
}  # fmt: skip
GOOD = {
    "safetylock": (
        {}, {"seed": "4294967293"}, {"seeds": "1"}, {"alpha": "0"}, {"alpha": "2"}, {"heads": "0"},
        {"heads": "32"}, {"r": "0"}, {"r": "1"}, {"selection": ""}, {"selection": "leverage"},
        {"draws": "1"}, {"model_id": "tiny"}, {"model_id": ""},
        {"requests_path": "good.jsonl", "finetuned_id": "tiny", "seeds": "1"},
        {"alphas": "0.5, 1"}, {"pairs": "10"}, {"validated": "4"}, {"evaluated": "-1"},
        {"max_new_tokens": "8"}, {"repeats": "1"}, {"draws": "-1"},
        {"finetuned_id": "tiny", "seeds": "1"}, {"controlled": "4"}, {"align_steps": "0"},
        {"align_steps": "5"}, {"align_steps": "0", "finetuned_id": "tiny", "seeds": "1"},
    ),
    "pas": (
        {}, {"subjects": "0"}, {"subjects": "128"}, {"heads": "-1"}, {"heads": "32"},
        {"alphas": ""}, {"alphas": "0, 1,2.5"}, {"folds": "-1"}, {"folds": "5"},
        {"dpo_subjects": "0"},
        {"dpo_subjects": "20", "subjects": "20"}, {"official": "true"}, {"official": "0"},
        {"direction": "weighted"}, {"targets": "released"}, {"keyed": "raw"}, {"seed": "7"},
        {"modes": "pas"}, {"modes": "pas, p2+pas", "portrait_tokens": "40"}, {"controls": "0"},
        {"items": "0"}, {"items": "2"}, {"modes": "", "portrait_tokens": "-1"},
    ),
    "fpo": (
        {}, {"methods": "fpo, dpo"}, {"methods": "fpo"}, {"alphas": "1,10,100"}, {"alphas": "0,1"},
        {"beta": "-1"}, {"beta": "0.1"}, {"k": "256"}, {"k": "-1"}, {"topk": "ref"},
        {"pool": "padded", "reference": "online"}, {"pool": "sum"}, {"steps": "0"}, {"pairs": "0"},
        {"held_out": "-1"}, {"hook": "blocks.2.hook_resid_pre"}, {"sae": "release:id"},
        {"force_sae": "True"}, {"hook": ""}, {"learning_rate": "0.001"}, {"batch": "6"},
        {"max_length": "32"}, {"warmup": "5"}, {"lora": "0"}, {"lora": "4"}, {"costs": "0"},
        {"train_sae": "64,2000,2"}, {"train_sae": "64, 2000, 2", "model_id": "survey"},
    ),
    "graphhop": (
        {}, {"size": "full"}, {"methods": "bm25, tfidf"}, {"methods": "bgr"}, {"train": "50"},
        {"dev": "1"}, {"test": "12"}, {"pool": "10"}, {"pool": "25"}, {"decoys": "0"},
        {"decoys": "4"}, {"hop_questions": "0"}, {"largest": "0"}, {"largest": "100"},
        {"epochs": "1"}, {"seeds": "3"}, {"seed": "7"},
        {"model_id": ""}, {"tables_path": ""}, {"data_path": ""}, {"ablations": "true"},
        {"head": "tokens"}, {"share": "true"}, {"methods": "forward_frozen"},
    ),
    "reasonchainqa": (
        {}, {"size": "full"}, {"methods": "bm25, tfidf"}, {"methods": "greedy"}, {"train": "50"},
        {"types": "What, Count"}, {"depths": "1, 7"}, {"dev": "1"}, {"test": "120"},
        {"pool": "0"}, {"pool": "25"}, {"decoys": "0"}, {"held_out": "0"}, {"beam": "1"},
        {"chain_weight": "0"}, {"answered": "0"}, {"database": "0"}, {"database": "1000"},
        {"epochs": "1"}, {"seeds": "3"}, {"seed": "7"}, {"model_id": ""}, {"tables_path": ""},
        {"data_path": ""}, {"methods": "ssg_released"},
    ),
    "self_verification": (
        {}, {"limit": "0"}, {"limit": "10"}, {"k": "-1"}, {"t_forward": "-1"}, {"t_forward": "0"},
        {"t_backward": "1"}, {"shots": "0"}, {"shots": "-1"}, {"verification": "tfv"},
        {"dataset": "svamp"}, {"dataset": "gsm8k", "shots": "4"}, {"max_new_tokens": "16"},
        {"model_id": "http://127.0.0.1:1/v1", "served_model": "m"}, {"chat": "false"}, {"chat": ""},
        {"extraction": ""}, {"extraction": "official"}, {"extraction": "math-verify"},
    ),
    "neural_comprehension": (
        {}, {"tasks": "copy, addition"}, {"tasks": "parity_chat", "model_id": "tiny"},
        {"lengths": "95"}, {"lengths": "40, 1"}, {"rows": "1"}, {"rows": "-1"}, {"shots": "8"},
        {"shots": "0"}, {"digits": "5,6"}, {"stories": "1"}, {"flips": "1, 2"}, {"observed": "0"},
        {"observed": "50"}, {"texts": "200"}, {"texts": "-1"}, {"repeats": "1"}, {"seed": "7"},
        {"max_new_tokens": "16"}, {"data_path": "own.jsonl"}, {"t5_id": ""}, {"epochs": ""},
    ),
}  # fmt: skip


SMALL = tuple(
    ("neural_comprehension", {"model_id": "symbols", **given}) for given in (
        {}, {"tasks": "addition"}, {"lengths": "4"}, {"rows": "5"}, {"shots": "2"},
        {"digits": "2"}, {"stories": "3"}, {"observed": "0"}, {"repeats": "2"},
    )
) + tuple(
    ("pas", {"model_id": "survey", **given}) for given in (
        {}, {"subjects": "24"}, {"dpo_subjects": "4"}, {"modes": "pas, p2+pas"}, {"controls": "1"},
        {"official": "true"}, {"items": "4"}, {"alphas": "0, 1"}, {"heads": "32"}, {"seed": "7"},
    )
) + tuple(
    ("fpo", {"model_id": "styles", **given}) for given in (
        {"train_sae": "64,2000,2"}, {"train_sae": "64,2000,2", "k": "64"}, {"sae": "release:id"},
        {"sae": "release:id", "k": "2000"}, {"hook": "blocks.1.hook_resid_pre"},
        {"train_sae": "64,2000,0", "lora": "0", "costs": "1"},
        {"train_sae": "64,2000,0", "methods": "fpo", "alphas": "1", "steps": "0", "batch": "3"},
        {"train_sae": "64,2000,0", "pairs": "60", "held_out": "20", "warmup": "7"},
    )
) + tuple(
    ("safetylock", {"model_id": "tiny", "heads": "6", **given}) for given in (
        {}, {"align_steps": "0"}, {"align_steps": "5"}, {"controlled": "40"}, {"evaluated": "40"},
        {"validated": "20"}, {"alphas": "0.5,1"}, {"draws": "1"}, {"pairs": "60"}, {"seeds": "1"},
        {"requests_path": "good.jsonl", "align_steps": "0", "finetuned_id": "tiny"},
    )
)  # fmt: skip
"""Values that pass at small, each with an embedded model, which is always at hand."""


class StartedError(Exception):
    """A run got as far as its folder."""


def absent(package):
    raise PackageNotFoundError(package)


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A folder with files that are wrong; runs end where they would begin; no hub."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "weightless").mkdir()
    (tmp_path / "tokenless").mkdir()
    for name in ("weightless/config.json", "weightless/tokenizer.json", "tokenless/config.json",
                 "tokenless/model.safetensors"):  # fmt: skip
        (tmp_path / name).write_text("{}")
    (tmp_path / "damaged.jsonl").write_text('{"prompt": "a", ')
    (tmp_path / "damaged.csv").write_text("id,text\n1,x\n")
    requests = [{"prompt": f"How {i}?", "harmful": i % 2 == 0} for i in range(4)]
    (tmp_path / "own.jsonl").write_text('{"question": "How many?", "answer": 3}')
    (tmp_path / "good.jsonl").write_text("\n".join(map(json.dumps, requests)))
    pair = {"prompt": "Say", "chosen": "one", "rejected": "two"}
    (tmp_path / "one.jsonl").write_text(json.dumps(pair))
    (tmp_path / "only.jsonl").write_text(json.dumps(pair | {"split": "train"}))
    (tmp_path / "harmful.jsonl").write_text(json.dumps(requests[0]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "reachable", lambda: False)

    def begin(out):
        raise StartedError

    monkeypatch.setattr(execute, "prepared", begin)
    before = sorted(tmp_path.rglob("*"))
    yield
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_every_parameter_is_tried():
    for paper in PAPERS:
        names = set(declared(paper.notebook)) - {"preset", "out_dir"}
        assert names == set(BAD[paper.name])


@pytest.mark.parametrize(("paper", "name"), [(p, n) for p, names in BAD.items() for n in names])
def test_what_is_wrong_is_refused_by_name(paper, name):
    for value in BAD[paper][name]:
        with pytest.raises(WorkbenchError) as caught:
            execute.run(paper, {name: value}, out="out")
        message = str(caught.value)
        assert name in message, value
        assert len(message) < 1000
        given = [value, value.strip("-"), *value.split(","), *value.split(";")]
        assert any(
            (part and part[:40] in message) or repr(part)[1:-1][:40] in message for part in given
        ), message
        assert caught.value.__cause__ is None, "unusable input, not a failure"


@pytest.mark.parametrize(("paper", "given"), [(p, g) for p, all_ in GOOD.items() for g in all_])
def test_what_is_documented_passes(paper, given):
    with pytest.raises(StartedError):
        execute.run(paper, given, out="out")


@pytest.mark.parametrize("given", SMALL)
def test_what_is_documented_passes_at_small(given):
    paper, values = given
    with pytest.raises(StartedError):
        execute.run(paper, values, preset="small", out="out")


@pytest.mark.parametrize("paper", dict(SMALL))
def test_small_without_a_model_names_the_ways_to_one(paper, monkeypatch):
    monkeypatch.delenv("WORKBENCH_SMOLLM2", raising=False)
    monkeypatch.setattr(hub, "distribution", absent)
    with pytest.raises(ModelError) as caught:
        execute.run(paper, {}, preset="small", out="out")
    assert caught.value.__cause__ is None
    for way in ("WORKBENCH_SMOLLM2", hub.SMALL["smollm2"][0], "`pip install gguf` and `pip"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("paper", "given", "preset", "said"),
    [
        ("safetylock", {"lock_path": "good.jsonl", "heads": "3"}, "tiny", "heads=3 goes unheeded"),
        ("safetylock", {"lock_path": "good.jsonl", "selection": "paper"}, "tiny", "selection='pa"),
        ("safetylock", {"finetuned_id": "tiny", "seeds": "2"}, "tiny", "seeds=2: finetuned_id is"),
        ("safetylock", {"finetuned_id": "tiny", "seeds": "1", "align_steps": "3"}, "small",
         "align_steps=3 goes unheeded"),
        ("safetylock", {}, "paper", "-p finetuned_id="),
        ("safetylock", {"finetuned_id": "tiny"}, "paper", "Meta-Llama-3-8B-Instruct cannot be rea"),
        ("safetylock", {"model_id": "tiny", "heads": "6", "requests_path": "good.jsonl"}, "small",
         "no harmful training request has a 'chosen' answer"),
        ("safetylock", {"model_id": "tiny", "heads": "6", "evaluated": "41"}, "small",
         "evaluated=41: it must be"),
        ("safetylock", {"model_id": "tiny"}, "small", "heads=48: the model has 32"),
        ("safetylock", {}, "papper", "'papper'; use one of tiny, small, paper; did you mean"),
        ("fpo", {"pairs_path": "good.jsonl", "pairs": "4"}, "tiny", "pairs=4: it must be a whole"),
        ("fpo", {"pairs_path": "good.jsonl", "held_out": "2", "model_id": "styles", "sae": "a:b"},
         "paper", "held_out=2: it must be"),
        ("pas", {}, "paper", "-p papi_path=FOLDER"),
        ("pas", {}, "paper", "-p answers_path=FILE"),
        ("pas", {"papi_path": "good.jsonl", "model_id": "survey"}, "paper", "give a .csv"),
        ("pas", {"subjects": "5", "dpo_subjects": "6"}, "tiny", "dpo_subjects=6"),
        ("pas", {"model_id": "survey", "subjects": "25"}, "small", "subjects=25: it must be"),
        ("pas", {"model_id": "survey", "heads": "33"}, "small", "heads=33: it must be"),
        ("pas", {"model_id": "survey", "dpo_subjects": "5"}, "small", "dpo_subjects=5: it"),
        ("pas", {"model_id": "survey", "items": "5"}, "small", "items=5: it must be"),
        ("pas", {"model_id": "survey", "portrait_tokens": "9"}, "small", "nobody is described"),
        ("fpo", {"model_id": "styles"}, "small", "train_sae=1024,12000,14: the model has 3 layers"),
        ("fpo", {"model_id": "styles", "train_sae": "8,2000,1"}, "small", "k (of the"),
        ("fpo", {"train_sae": "64,2000,1", "pairs_path": "one.jsonl"}, "tiny",
         "pairs_path='one.jsonl': one.jsonl has no row of split 'train'"),
        ("fpo", {"train_sae": "64,2000,1", "pairs_path": "only.jsonl"}, "tiny",
         "pairs_path='only.jsonl': only.jsonl has no row of split 'test'"),
        ("fpo", {"model_id": "styles", "train_sae": "64,2000,1", "pairs": "61"}, "small",
         "pairs=61"),
        ("fpo", {"model_id": "styles", "train_sae": "64,2000,1", "held_out": "21"}, "small",
         "held_out=21"),
        ("fpo", {"model_id": "styles", "train_sae": "64,2000,1", "warmup": "8"}, "small",
         "warmup=8: training ends after steps=8"),
        ("fpo", {"model_id": "no/such-model"}, "small", "model_id='no/such-model'"),
        ("fpo", {"model_id": "styles", "train_sae": "64,2000,1", "pairs_path": "good.jsonl"},
         "small", "pairs_path='good.jsonl': train, row 0: chosen is missing"),
        ("fpo", {}, "paper", "google/gemma-2-2b cannot be reached"),
        ("fpo", {"model_id": "styles", "sae": "a:b", "k": "0"}, "paper", "k=0"),
        ("fpo", {"model_id": "own", "force_sae": "true"}, "paper",
         "model_id='own' is given without sae: the preset's SAE reads google/gemma-2-2b alone"),
        ("fpo", {"model_id": "own"}, "tiny", "with -p sae=RELEASE:ID"),
        ("graphhop", {"size": "full"}, "paper", "size='full' goes unheeded at preset=paper"),
        ("graphhop", {"data_path": "empty", "pool": "20"}, "tiny", "pool=20 goes unheeded"),
        ("graphhop", {"ablations": "true"}, "paper", "methods='forward_names' is of preset=tiny"),
        ("graphhop", {"ablations": "true", "methods": "bgr"}, "tiny", "ablations goes unheeded"),
        ("graphhop", {"model_id": "lex"}, "paper", "model_id='lex' is no network"),
        ("graphhop", {}, "paper", "bert-base-uncased cannot be reached"),
        ("reasonchainqa", {"size": "full"}, "paper", "size='full' goes unheeded at preset=paper"),
        ("reasonchainqa", {"data_path": "empty", "types": "What"}, "tiny", "types='What' goes"),
        ("reasonchainqa", {"test": "60", "held_out": "61"}, "tiny", "held_out=61"),
        ("reasonchainqa", {}, "paper", "bert-base-uncased cannot be reached"),
        ("neural_comprehension", {"rows": "4", "observed": "5"}, "tiny", "observed=5"),
        ("neural_comprehension", {"flips": "2", "model_id": "symbols"}, "small", "flips='2' goes"),
        ("neural_comprehension", {"data_path": "good.jsonl"}, "tiny",
         "data_path='good.jsonl': row 0: no input or question; it has prompt, harmful"),
        ("neural_comprehension", {}, "paper", "24 GB: Llama 2 7B (14 GB, gated"),
        ("neural_comprehension", {"model_id": "symbols", "t5_id": "no/such-t5"}, "paper",
         "t5_id='no/such-t5'"),
        ("self_verification", {}, "paper", "-p model_id=HUB_ID"),
        ("self_verification", {"model_id": "sums", "dataset": "svamp", "data_path": "no.json"},
         "paper", "data_path='no.json' is no file"),
        ("self_verification", {"dataset": "bigbench_date", "extraction": "math-verify"}, "tiny",
         "extraction='math-verify' reads number, choice, yesno, truefalse, no 'date'"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_go_together(paper, given, preset, said):
    with pytest.raises(WorkbenchError) as caught:
        execute.run(paper, given, preset=preset, out="out")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "seeds=0"], "seeds=0: it must be a whole number at least 1"),
        (["-p", "heads=3", "-p", "heads=4"], "-p heads is given twice"),
        (["-p", "heads"], "write it as NAME=VALUE"),
        (["-p", "haeds=3"], "unknown parameter 'haeds'; did you mean 'heads'?"),
        (["-p", "=3"], "unknown parameter ''"),
        (["--preset", ""], "preset=''"),
        (["--out", ""], "--out '' is no folder"),
        (["--out", "s3://bucket/run"], "--out 's3://bucket/run' is no folder of this machine"),
        (["--out", "HTTP://host/run"], "is no folder of this machine"),
        (["--out", "a\udcffb"], "is not UTF-8"),
    ],
)
def test_the_command_line_says_so_in_one_line(capsys, arguments, said):
    assert main(["run", "pas", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["run", "pas", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_no_library_is_loaded_to_look_at_parameters():
    code = (
        "import sys\nfrom workbench.papers.registry import PAPERS\n"
        "for paper in PAPERS: paper.module.preflight('tiny', {})\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'papermill'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
