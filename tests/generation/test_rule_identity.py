"""A rule in a sample's identity: with a store it needs a fingerprint, and nothing else counts."""

import json

import pytest

import workbench as wb
from tests.generation.test_rules import Busy
from workbench.errors import GenerationError
from workbench.generation.complete import backend
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest

REQUESTS = [GenRequest("Mend", 3, 6, 1.0), GenRequest("Look at the gate", max_new_tokens=6)]


def keys(model, rule, tmp_path, requests=REQUESTS):
    """key → decoding parameters of what is stored."""
    file = tmp_path / "exported.jsonl"
    with wb.SampleStore() as store:
        wb.complete(model, requests, store=store, rule=rule)
        store.export_jsonl(file)
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {row["key"]: row["parameters"] for row in rows}


def test_the_key_changes_with_the_fingerprint_and_only_with_it(llama, tmp_path):
    plain, one = keys(llama, None, tmp_path), keys(llama, Busy(mark="one"), tmp_path)
    assert keys(llama, Busy([60], range(3), mark="one", start=2), tmp_path).keys() == one.keys()
    two = keys(llama, Busy(mark="two"), tmp_path)
    assert len({*plain, *one, *two}) == 12
    assert not any("rule" in parameters for parameters in plain.values())
    assert {p.pop("rule") for p in one.values()} == {"one"}
    assert sorted(map(str, one.values())) == sorted(map(str, plain.values()))
    streamed = backend(LocalBackend(llama), Busy(mark="one"))
    assert keys(streamed, None, tmp_path).keys() == one.keys()


@pytest.mark.parametrize("mark", [None, "", 5, b"x"])
def test_without_a_fingerprint_there_is_no_store(llama, mark, monkeypatch):
    monkeypatch.setattr(LocalBackend, "check", None)
    monkeypatch.setattr(type(llama), "fingerprint", None)
    with pytest.raises(ValueError, match=r"rule Busy has the fingerprint .*let fingerprint\(\)"):
        wb.complete(llama, REQUESTS, store=wb.SampleStore(), rule=Busy(mark=mark))


def test_without_a_store_it_is_not_asked_for(llama):
    assert wb.generate(llama, ["Mend"], max_new_tokens=2, rule=Busy(mark=None))


def test_resumed_and_replayed(llama):
    rule = Busy()
    whole = [r.texts for r in wb.complete(llama, REQUESTS, rule=rule)]
    with wb.SampleStore() as store:
        first = [GenRequest("Mend", 2, 6, 1.0)]
        assert wb.complete(llama, first, store=store, rule=rule)[0].texts == whole[0][:2]
        assert [r.texts for r in wb.complete(llama, REQUESTS, store=store, rule=rule)] == whole
        assert store.written == len(store) == 4
        for completer in (llama, wb.Replay(store)):
            again = wb.complete(completer, REQUESTS, store=store, rule=Busy(), mode="replay")
            assert [r.texts for r in again] == whole
            for other in (None, Busy(mark="other")):
                with pytest.raises(GenerationError, match="replay: 4 samples are not stored"):
                    wb.complete(completer, REQUESTS, store=store, rule=other, mode="replay")
        plain = [r.texts for r in wb.complete(llama, REQUESTS, store=store)]
        assert plain != whole
        assert store.written == 8
        # Samples with and without a rule are one model's.
        both = [(None, plain), (rule, whole)]
        for given, texts in both:
            again = wb.complete(wb.Replay(store), REQUESTS, store=store, rule=given, mode="replay")
            assert [r.texts for r in again] == texts


def test_two_rules_without_a_store_do_not_mix(llama):
    one, other = (wb.complete(llama, REQUESTS, rule=Busy(start=s))[0].texts for s in (0, 1))
    assert one != other
    backend = LocalBackend(llama)
    wb.complete(backend, REQUESTS, rule=Busy())
    assert backend.rule is None
