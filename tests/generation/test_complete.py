"""complete() and generate(): drawn once, kept, gone on with, replayed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
from tests.helpers.greedy import by_generate, text
from workbench.errors import DatasetError, GenerationError, StoreError
from workbench.generation.complete import backend, complete, generate
from workbench.generation.replay import Replay
from workbench.generation.requests import (
    GenRequest,
    Sample,
    parameters,
    prompt_text,
    sample_key,
)
from workbench.hashing import canonical, digest
from workbench.models.prompts import encode

PROMPTS = [chat[:1] for chat in CHATS[::3]] + ["Sure, mend", "No, do not curse the gate"]


def test_greedy_equals_one_by_one(tiny):
    together = wb.generate(tiny, PROMPTS, max_new_tokens=40)
    for prompt, texts in zip(PROMPTS, together, strict=True):
        assert texts == [text(tiny, by_generate(tiny, prompt, 40))]


def test_gpt2_positions_follow_the_mask(tokenizer):
    """Learned positions: a left pad must not shift the real tokens (TransformerLens #1609)."""
    model = build("gpt2", tokenizer)
    together = wb.generate(model, PROMPTS, max_new_tokens=12)
    alone = [wb.generate(model, [p], max_new_tokens=12)[0] for p in PROMPTS]
    assert together == alone


def test_sampling_is_seeded_and_leaves_the_callers_generator_alone(tiny):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=1, max_new_tokens=10)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=1, max_new_tokens=10)
    assert first != wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=2, max_new_tokens=10)
    assert [len(texts) for texts in first] == [3] * len(PROMPTS)


def test_samples_follow_the_softmax(tiny):
    """1500 one-token samples against the exact next-token distribution."""
    prompt = [{"role": "user", "content": "How do I mend the gate of Mara?"}]
    ids = torch.tensor([encode(tiny, prompt).ids])
    with torch.no_grad():
        exact = tiny.hf(ids).logits[0, -1].softmax(-1)
    (texts,) = wb.generate(tiny, [prompt], n=1500, temperature=1.0, seed=0, max_new_tokens=1)
    token = int(exact.argmax())
    share = sum(t == tiny.tokenizer.decode([token]) for t in texts) / 1500
    p = exact[token].item()
    assert abs(share - p) < 4 * (p * (1 - p) / 1500) ** 0.5


@pytest.mark.parametrize("bad", [{"n": 2}, {"n": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}])
def test_bad_input(tiny, bad):
    with pytest.raises(ValueError, match=r"at least|greedy decoding gives one"):
        wb.generate(tiny, PROMPTS, **bad)


@dataclass
class Counting:
    """A backend that says what it was asked, and notes it; it fails after `fails` samples."""

    drawn: list = field(default_factory=list)
    fails: int = 10**9
    by_place: bool = False
    name: str = "counting"
    device: str = "cpu"

    def identity(self):
        return {"backend": self.name}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        for i, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            for k in indices:
                if len(self.drawn) == self.fails:
                    raise GenerationError("the backend failed")
                self.drawn.append((request.prompt, k))
                text = f"{prompt_text(request.prompt)} {request.seed} {k}"
                yield [(i, k, Sample(text, "eos", 3, 2))]


def ask(prompt, n=1, temperature=1.0, **more):
    return GenRequest(prompt, n, temperature=temperature, **more)


def test_every_completer_becomes_a_backend_with_name_and_device(tiny):
    local, server, counting = backend(tiny), backend("http://host:8000/v1"), Counting()
    assert (local.name, local.device) == (tiny.name, "cpu")
    assert server.device == "http://host:8000/v1"
    assert backend(counting) is counting
    with pytest.raises(ValueError, match=r"neither a loaded model nor a URL: wb.load\('gpt'\)"):
        backend("gpt")


def test_a_larger_n_draws_only_what_is_missing():
    backend = Counting()
    with wb.SampleStore() as store:
        (two,) = complete(backend, [ask("a", 2)], store=store)
        (ten,) = complete(backend, [ask("a", 10)], store=store)
        assert backend.drawn == [("a", k) for k in range(10)]
        assert ten.texts[:2] == two.texts
        assert ten.texts == [f"a 0 {k}" for k in range(10)]
        assert [s.cached for s in ten.samples] == [True] * 2 + [False] * 8
        assert store.written == len(store) == 10
        (three,) = complete(backend, [ask("a", 3)], store=store)
        assert three.texts == ten.texts[:3]
        assert store.written == 10


def test_a_larger_n_with_a_model():
    tiny = wb.load("tiny", dtype=torch.float64, device="cpu")
    options = {"temperature": 1.0, "max_new_tokens": 6}
    with wb.SampleStore() as store:
        two = wb.generate(tiny, PROMPTS, n=2, store=store, **options)
        before = store.written
        ten = wb.generate(tiny, PROMPTS, n=10, store=store, **options)
        assert store.written - before == 8 * len(PROMPTS)
        assert [texts[:2] for texts in ten] == two
    assert ten == wb.generate(tiny, PROMPTS, n=10, **options)


def test_without_a_store_nothing_is_kept():
    backend = Counting()
    for _ in range(2):
        assert complete(backend, [ask("a")])[0].texts == ["a 0 0"]
    assert len(backend.drawn) == 2
    assert complete(backend, []) == []


def test_equal_requests_are_drawn_once():
    """Also with other n, stage or notes; other parameters are other samples."""
    backend = Counting()
    chat = [{"role": "user", "content": "a"}]
    requests = [
        ask("a", 2), ask("a", 4, stage="x"), ask("b"), ask("a", 1, meta={"id": 7}),
        ask("a", seed=1),
        ask(chat), ask([{"content": "a", "role": "user"}]), ask(prompt_text(chat)),
    ]  # fmt: skip
    results = complete(backend, requests)
    assert [len(r.texts) for r in results] == [2, 4, 1, 1, 1, 1, 1, 1]
    assert len(backend.drawn) == 4 + 1 + 1 + 1 + 1
    assert results[1].texts[:2] == results[0].texts
    assert results[3].texts == results[0].texts[:1]
    assert results[4].texts != results[3].texts
    assert results[5] == results[6]


def test_greedy_takes_one_sample_for_all_n_and_any_seed():
    backend = Counting()
    with wb.SampleStore() as store:
        requests = [
            ask("a", 5, 0.0), ask("a", 1, 0.0, seed=9), ask("a", 2, -0.0, top_p=0.5, top_k=3),
        ]  # fmt: skip
        results = complete(backend, requests, store=store)
        assert [r.texts for r in results] == [["a 0 0"] * 5, ["a 0 0"], ["a 0 0"] * 2]
        assert len(store) == store.written == len(backend.drawn) == 1


def test_the_identity_is_all_that_a_text_depends_on():
    base = {"prompt": "a", "max_new_tokens": 8, "temperature": 1.0, "stop": ("x",), "seed": 1}
    changes = [
        {}, {"max_new_tokens": 9}, {"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 4},
        {"stop": ("y",)}, {"stop": ("x", "y")}, {"seed": 2}, {"prompt": "b"},
        {"prompt": [{"role": "user", "content": "a"}]},
        {"prompt": [{"role": "system", "content": "a"}]},
    ]  # fmt: skip
    with wb.SampleStore() as store:
        for number, change in enumerate(changes, 1):
            complete(Counting(), [GenRequest(**base | change)], store=store)
            assert store.written == number
        for change in ({"stage": "s"}, {"meta": {"a": 1}}, {"temperature": 1}, {"top_p": 1}):
            complete(Counting(), [GenRequest(**base | change)], store=store)
        assert store.written == len(changes)
        complete(Counting(name="other"), [GenRequest(**base)], store=store)
        assert store.written == len(changes) + 1


def test_keys_do_not_change():
    """Literal: with them a store of last year would be lost. And no order of a dict matters."""
    request = GenRequest([{"role": "user", "content": "é"}], 2, 8, 0.5, stop=("\n",), seed=3)
    expected = (
        '{"b":"2","chat":true,"max_new_tokens":8,"schema":1,"seed":3,"stop":["\\n"],'
        '"temperature":0.5,"top_k":0,"top_p":1.0,"weights":"1"}'
    )
    for identity in ({"weights": "1", "b": "2"}, {"b": "2", "weights": "1"}):
        found = canonical(parameters(request, identity))
        assert found == expected
    assert prompt_text(request.prompt) == '[{"content":"é","role":"user"}]'
    assert prompt_text([{"content": "é", "role": "user"}]) == prompt_text(request.prompt)
    key = sample_key(expected, digest(prompt_text(request.prompt), 64), 1)
    assert key == "a310abbbf5cc78cffe5985776d5fb52e2ab526a4bc4685ba7b1f8fe6f5b38a42"


def test_replay_draws_nothing(tmp_path):
    path = tmp_path / "samples.sqlite"
    backend = Counting()
    drawn = complete(backend, [ask("a", 3), ask("b")], store=path)
    backend.fails = len(backend.drawn)
    again = complete(backend, [ask("b"), ask("a", 2)], store=path, mode="replay")
    assert [r.texts for r in again] == [drawn[1].texts, drawn[0].texts[:2]]
    assert all(s.cached for r in again for s in r.samples)
    with pytest.raises(
        GenerationError, match="replay: 3 samples are not stored, the first for 'a'"
    ):
        complete(backend, [ask("b"), ask("a", 5), ask("c")], store=path, mode="replay")
    with pytest.raises(GenerationError, match="replay: 1 samples are not stored"):
        complete(backend, [ask("a")], mode="replay")


def test_replay_stands_in_for_the_model(tiny, tmp_path):
    options = {"n": 2, "temperature": 1.0, "max_new_tokens": 6}
    path = tmp_path / "samples.sqlite"
    drawn = wb.generate(tiny, PROMPTS, store=path, **options)
    with wb.SampleStore(path) as store:
        replay = Replay(store)
        assert (replay.name, replay.device) == (str(path), "none")
        assert generate(replay, PROMPTS, store=store, mode="replay", **options) == drawn
        with pytest.raises(GenerationError, match="replay: 4 samples are not stored"):
            generate(replay, PROMPTS[:1], store=store, mode="replay", **options | {"n": 6})
        with pytest.raises(GenerationError, match="there is no model to draw"):
            generate(replay, ["other"], store=store, **options)
        complete(Counting(), [ask("a")], store=store)
        with pytest.raises(StoreError, match="samples of 2 models or steerings"):
            generate(replay, PROMPTS, store=store, mode="replay", **options)
    with wb.SampleStore() as empty, pytest.raises(StoreError, match="samples of 0 models"):
        generate(Replay(empty), ["a"], store=empty, mode="replay")


def test_what_was_drawn_before_a_failure_is_kept():
    backend = Counting(fails=3)
    requests = [ask("a", 2), ask("b", 2)]
    with wb.SampleStore() as store:
        with pytest.raises(GenerationError, match="the backend failed"):
            complete(backend, requests, store=store)
        assert len(store) == 3
        backend.fails = 4
        complete(backend, requests, store=store)
        assert store.written == len(backend.drawn) == 4


RUN = """
import sys
sys.path.insert(0, {tests!r})
from tests.generation.test_complete import LONG_RUN, PROMPTS
import workbench as wb
from workbench.models import forward_state
forward_state._require_known = lambda *_: None  # the hook only counts
model = wb.load("tiny", device="cpu")
wb.generate(model, PROMPTS, **LONG_RUN)  # tries the ways of computing, which is not counted
model.layer(0).register_forward_pre_hook(lambda *_: print(flush=True))
wb.generate(model, PROMPTS, store=sys.argv[1], **LONG_RUN)
"""
LONG_RUN = {"n": 8, "temperature": 1.0, "max_new_tokens": 10, "batch_size": 4}


def test_killed_and_gone_on_with(tiny, tmp_path):
    """kill -9 in mid-run: the same call then draws what is missing, and nothing twice."""
    path = tmp_path / "samples.sqlite"
    code = RUN.format(tests=str(Path(__file__).parents[2]))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while process.stdout.readline():  # a forward
        if path.exists():
            with wb.SampleStore(path) as store:
                if len(store) >= 12:
                    break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    count = 8 * len(PROMPTS)
    with wb.SampleStore(path) as store:
        assert 12 <= len(store) < count
        got = wb.generate(tiny, PROMPTS, store=store, **LONG_RUN)
        assert store.written == len(store) == count
    assert got == wb.generate(tiny, PROMPTS, **LONG_RUN)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("error", [GenerationError, KeyboardInterrupt])
def test_interrupted_and_gone_on_with(tiny, error):
    count = 0

    def hook(*_):
        nonlocal count
        count += 1
        if count == 25:
            raise error

    handle = tiny.layer(0).register_forward_hook(hook)
    with wb.SampleStore() as store:
        with pytest.raises(error):
            wb.generate(tiny, PROMPTS, store=store, **LONG_RUN)
        handle.remove()
        assert 0 < len(store) < 8 * len(PROMPTS)
        got = wb.generate(tiny, PROMPTS, store=store, **LONG_RUN)
        assert store.written == len(store) == 8 * len(PROMPTS)
    assert got == wb.generate(tiny, PROMPTS, **LONG_RUN)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": -1}, "n=-1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"top_p": 0.0}, "top_p=0.0: it must be a finite number above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"top_p": float("nan")}, "top_p=nan"),
        ({"top_k": -1}, "top_k=-1"),
        ({"stop": ("",)}, "non-empty strings"),
        ({"stop": "###"}, "stop must be a list"),
    ],
)
def test_bad_requests_cannot_be_made(bad, message):
    with pytest.raises(ValueError, match=message):
        GenRequest("a", **bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n": 2}, "greedy decoding gives one"),
        ({"top_p": 2.0}, "top_p"),
        ({"stop": "###"}, "stop must be a list, not one string"),
        ({"stop": [""]}, "non-empty"),
        ({"mode": "record"}, "use one of auto, replay"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": -2}, "batch_size=-2"),
        ({"prompts": "Hello."}, "prompts must be a list, not one string"),
        ({"model": "tiny"}, "neither a loaded model nor a URL"),
    ],
)
def test_bad_parameters_raise_before_anything(tiny, tmp_path, bad, message):
    path = tmp_path / "samples.sqlite"
    options = {"model": tiny, "prompts": ["Hello."], "store": path} | bad
    with pytest.raises(ValueError, match=message):
        generate(**options)
    assert not path.exists()


def test_a_bad_prompt_among_good_ones_is_found_before_any_is_drawn(tiny):
    backend = Counting()
    with wb.SampleStore() as store:
        with pytest.raises(DatasetError, match="prompt 1 is neither"):
            complete(backend, [ask("a"), ask([{"role": "user"}])], store=store)
        with pytest.raises(DatasetError, match="prompt 1 is an empty string"):
            complete(tiny, [ask("a"), ask("")], store=store)
        assert len(store) == len(backend.drawn) == 0


def test_stages_label_what_the_store_holds():
    with wb.SampleStore() as store:
        complete(Counting(), [ask("a", 2, stage="x"), ask("b", stage="y")], store=store)
        assert store.stages() == {"x": (2, 6), "y": (1, 3)}


def test_the_result_keeps_the_order_of_the_requests(tiny):
    requests = [
        ask(p, 1 + i % 3, i % 2 * 1.0, max_new_tokens=3 + i, stop=("the",) * (i % 2))
        for i, p in enumerate(PROMPTS + PROMPTS[::-1])
    ]
    together = complete(tiny, requests)
    assert [complete(tiny, [r])[0] for r in requests] == together
    assert [len(r.samples) for r in together] == [r.n for r in requests]
    assert json.dumps([r.texts for r in together])
