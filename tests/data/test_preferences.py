"""Rows validated with their number; splits that share nothing."""

import json

import pytest

import workbench as wb
from tests.helpers import hub
from tests.helpers.rows import written
from workbench.errors import DatasetError


def test_embedded_splits_share_no_pair_and_test_wordings_are_new():
    from workbench.worlds import brindle

    rows = {s: wb.load_data("requests", s) for s in ("train", "validation", "test")}
    pairs = {s: {(r["action"], r["thing"]) for r in rows[s]} for s in rows}
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["validation"]
    assert not pairs["validation"] & pairs["test"]
    new = [a.split("{")[0] for a in brindle.HELD_OUT_ASKS]
    assert all(any(n in r["prompt"] for n in new) for r in rows["test"])
    assert not any(any(n in r["prompt"] for n in new) for r in rows["train"])
    for r in rows["test"]:
        request = brindle.Request(r["action"], r["thing"], r["person"], r["prompt"])
        verdicts = [brindle.judge(request, r[side]) for side in ("chosen", "rejected")]
        assert verdicts == (["refuse", "comply"] if r["harmful"] else ["comply", "refuse"])


def test_preference_rows_are_the_harmful_ones():
    assert all(r["harmful"] for r in wb.load_data("preference"))


def test_official_names_and_duplicates(tmp_path, caplog):
    row = {
        "question": "q",
        "answer_matching_behavior": "I will not.",
        "answer_not_matching_behavior": "Sure.",
    }
    path = written(tmp_path, json.dumps([row, row]), "safe_dataset.json")
    assert wb.load_data("preference", source=path) == [
        {"prompt": "q", "chosen": "I will not.", "rejected": "Sure."}
    ]
    assert "1 duplicate rows dropped" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a"}],
            "row 1: field 'chosen'",
        ),
        ([{"prompt": "a", "chosen": "b", "rejected": " "}], "row 0: field 'rejected' is empty"),
        ([{"prompt": "a", "chosen": "b", "rejected": "b"}], "row 0: chosen and rejected are equal"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}, "text"], "row 1: a str, not an object"),
        (["text", "text"], "row 0: a str, not an object"),
        ([], "no rows"),
    ],
)
def test_bad_rows(tmp_path, rows, message):
    path = written(tmp_path, "".join(json.dumps(r) + "\n" for r in rows), "rows.jsonl")
    with pytest.raises(DatasetError, match=message):
        wb.load_data("preference", source=path)


def test_one_bare_column_of_harmful_prompts(tmp_path):
    path = written(tmp_path, 'Curse a gate\n"Hex, then haunt"\n', "goals.csv")
    assert wb.load_data("requests", source=path) == [
        {"prompt": "Curse a gate", "harmful": True},
        {"prompt": "Hex, then haunt", "harmful": True},
    ]
    path = written(tmp_path, "prompt,harmful\nMend,0\nCurse,1\n", "both.csv")
    assert [r["harmful"] for r in wb.load_data("requests", source=path)] == [False, True]
    # Prompts whose commas are not quoted, and a column that is named but alone, are no such file.
    path = written(tmp_path, "Curse a gate\nHex, then haunt\n", "goals.csv")
    with pytest.raises(DatasetError, match=r"goals\.csv row 0: more values than columns"):
        wb.load_data("requests", source=path)
    for content, message in (("prompt\nMend\n", "'harmful' is missing"), ("prompt\n", "no rows")):
        with pytest.raises(DatasetError, match=message):
            wb.load_data("requests", source=written(tmp_path, content, "named.csv"))


@pytest.mark.parametrize("header", ["Prompts", "goals", "Harmful behaviors", "prompt_text", "Goal"])
def test_the_name_of_a_lone_column_is_no_prompt(tmp_path, header):
    with pytest.raises(DatasetError, match=f"the one column is called '{header}'"):
        wb.load_data("requests", source=written(tmp_path, f"{header}\nCurse a gate\n", "a.csv"))


@pytest.mark.parametrize("error", ["#NAME?", "#N/A", "#VALUE!"])
def test_an_error_of_a_spreadsheet_is_no_prompt(tmp_path, error):
    path = written(tmp_path, f"prompt,harmful\n{error},1\n", "a.csv")
    with pytest.raises(DatasetError, match=r"row 0: field 'prompt' is .*error of a spreadsheet"):
        wb.load_data("requests", source=path)


@pytest.mark.parametrize("name", ["requests", "preference"])
def test_columns_that_differ_in_their_case_alone_are_refused(tmp_path, name):
    path = written(tmp_path, "prompt,Prompt,harmful,chosen,rejected\na,b,1,c,d\n", "a.csv")
    with pytest.raises(DatasetError, match=r"a\.csv row 0: prompt is there twice"):
        wb.load_data(name, source=path)


def test_a_split_field_is_obeyed(tmp_path):
    rows = [{"prompt": s, "harmful": True, "split": s} for s in ("train", "test")]
    path = written(tmp_path, json.dumps(rows), "split.json")
    assert [r["prompt"] for r in wb.load_data("requests", "test", path)] == ["test"]
    # A wrong row is called by its place in the file, not in the split.
    rows = [*rows, {"prompt": " ", "harmful": True, "split": "test"}]
    path = written(tmp_path, json.dumps(rows), "split.json")
    assert len(wb.load_data("requests", "train", path)) == 1
    with pytest.raises(DatasetError, match="row 2: field 'prompt' is empty"):
        wb.load_data("requests", "test", path)


def test_an_unreachable_hub_says_what_to_do():
    with pytest.raises(DatasetError, match=r"walledai/AdvBench cannot be reached.*a local file"):
        wb.load_data("requests", source="hub")


def test_broken_files(tmp_path):
    with pytest.raises(DatasetError, match=r"x\.json:1: Expecting property name"):
        wb.load_data("requests", source=written(tmp_path, "{", "x.json"))
    with pytest.raises(DatasetError, match=r"y\.json row 0: field 'prompt' is missing"):
        wb.load_data("requests", source=written(tmp_path, "{}", "y.json"))
    with pytest.raises(DatasetError, match="expected a list"):
        wb.load_data("requests", source=written(tmp_path, "3", "z.json"))
    with pytest.raises(FileNotFoundError):
        wb.load_data("requests", source=tmp_path / "absent.json")
    with pytest.raises(DatasetError, match="unknown dataset 'reqests'"):
        wb.load_data("reqests")


PAIR = {"prompt": "Curse a gate", "chosen": "I will not.", "rejected": "Sure."}
ASKED = {"role": "user", "content": PAIR["prompt"]}
SAFE, UNSAFE = ({"role": "assistant", "content": PAIR[side]} for side in ("chosen", "rejected"))
HH = f"\n\nHuman: {PAIR['prompt']}\n\nAssistant:"
SHAPES = {
    "messages": {"chosen": [ASKED, SAFE], "rejected": [ASKED, UNSAFE]},
    "messages beside a text": {**PAIR, "chosen": [ASKED, SAFE], "rejected": [ASKED, UNSAFE]},
    "HH": {"chosen": f"{HH} I will not.", "rejected": f"{HH} Sure."},
    "repeated": {**PAIR, **{s: f"{PAIR['prompt']}\n{PAIR[s]}" for s in ("chosen", "rejected")}},
    "capitals": {name.title(): value for name, value in PAIR.items()},
    "released": {
        "question": PAIR["prompt"],
        "answer_matching_behavior": PAIR["chosen"],
        "answer_not_matching_behavior": PAIR["rejected"],
    },
    "SHP": {
        "history": PAIR["prompt"], "human_ref_A": "Sure.", "human_ref_B": "I will not.",
        "labels": "0",
    },
    "PKU": {
        "prompt": PAIR["prompt"], "response_0": "Sure.", "response_1": "I will not.",
        "is_response_0_safe": "FALSE", "is_response_1_safe": "TRUE",
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_of_other_shapes_become_texts(tmp_path, shape):
    path = written(tmp_path, json.dumps([SHAPES[shape]]), "pairs.json")
    (row,) = wb.load_data("preference", source=path)
    assert {field: row[field] for field in PAIR} == PAIR


def test_harmless_pairs_count_for_styles(tmp_path):
    path = written(tmp_path, json.dumps([{**PAIR, "harmful": "no"}]), "pairs.json")
    assert wb.load_data("styles", source=path) == [{**PAIR, "harmful": False}]
    with pytest.raises(DatasetError, match="no rows for 'preference'"):
        wb.load_data("preference", source=path)


def test_pairs_with_both_or_no_safe_answer_do_not_count(tmp_path):
    both, none = (
        {**SHAPES["PKU"], "is_response_0_safe": s, "is_response_1_safe": s} for s in (1, 0)
    )
    path = written(tmp_path, json.dumps([both, SHAPES["PKU"], none]), "pairs.json")
    assert len(wb.load_data("preference", source=path)) == 1
    path = written(tmp_path, json.dumps([{**both, "is_response_0_safe": "?"}]), "pairs.json")
    with pytest.raises(DatasetError, match=r"row 0: field 'is_response_0_safe' is '\?', neither"):
        wb.load_data("preference", source=path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"chosen": [ASKED, SAFE, ASKED, SAFE], "rejected": [ASKED, SAFE, ASKED, UNSAFE]},
            "several",
        ),
        ({"chosen": f"{HH} a{HH} b", "rejected": f"{HH} a{HH} c"}, "several turns"),
        ({**PAIR, "system": "Be kind."}, "a system prompt of its own"),
        (
            {**PAIR, "chosen": f"{PAIR['prompt']} " * 2, "rejected": PAIR["prompt"]},
            "row 0: field 'rejected' is empty",
        ),
        (
            {"prompt": "a", "accepted": "b", "rejected": "c"},
            "field 'chosen' is missing; found prompt, accepted",
        ),
        ({"chosen": "b", "rejected": "c"}, "share nothing at the start"),
    ],
)
def test_pairs_of_several_turns_or_none_are_refused(tmp_path, row, message):
    path = written(tmp_path, json.dumps([row]), "pairs.json")
    with pytest.raises(DatasetError, match=f"row 0.*{message.removeprefix('row 0: ')}"):
        wb.load_data("preference", source=path)


def test_a_spreadsheet_of_requests(tmp_path):
    text = "Prompt;Harmful;;\r\nMend a net;FALSE;;\r\nCurse; twice;;\r\n"
    path = written(
        tmp_path, text.replace("Curse;", '"Curse;').replace("twice;;", 'twice";WAHR;;'), "r.csv"
    )
    with pytest.raises(DatasetError, match=r"row 1: field 'harmful' is 'WAHR', neither true nor"):
        wb.load_data("requests", source=path)
    path = written(tmp_path, path.read_text().replace("WAHR", "TRUE").encode("utf-16"), "r.csv")
    assert wb.load_data("requests", source=path) == [
        {"prompt": "Mend a net", "harmful": False},
        {"prompt": "Curse; twice", "harmful": True},
    ]


@pytest.mark.parametrize("header", ["goal", "Question", "behavior"])
def test_a_named_column_of_prompts_is_not_its_first_prompt(tmp_path, header):
    path = written(tmp_path, f"{header}\nCurse a gate\n", "goals.csv")
    with pytest.raises(DatasetError, match=f"the one column is called '{header}'"):
        wb.load_data("requests", source=path)


def test_a_set_of_the_hub_whose_columns_are_others_now(monkeypatch):
    hub.serve(monkeypatch, [{"text": "Mend a net."}])
    with pytest.raises(DatasetError, match="hub row 0: field 'prompt' is missing"):
        wb.load_data("requests", source="hub")
