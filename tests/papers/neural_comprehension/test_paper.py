"""Settings and tables: what is refused, what stands where."""

import pytest

from workbench.errors import DatasetError, ModelError
from workbench.papers.neural_comprehension import paper
from workbench.papers.neural_comprehension.paper import Settings, numbers, published, settings


@pytest.mark.parametrize(
    "bad",
    [{"tasks": ("sorting",)}, {"tasks": ()}, {"tasks": ("copy", "copy")}, {"lengths": (0,)},
     {"lengths": (96,)}, {"lengths": (2, 2)}, {"digits": ()}, {"digits": (96,)}, {"flips": (0,)},
     {"epochs": (0,)}, {"rows": 0}, {"stories": 0}, {"repeats": 0}, {"max_new_tokens": 0},
     {"observed": -1}, {"observed": 2000}, {"shots": 9}, {"shots": -2}, {"texts": 201},
     {"texts": 0}, {"seed": -1}],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Settings(**bad)


def test_given_values_pin_and_lists_are_text():
    chosen = settings("tiny", tasks="copy, addition", lengths="7,3", rows=4, shots=-1, digits="")
    assert (chosen.tasks, chosen.lengths, chosen.rows) == (("copy", "addition"), (3, 7), 4)
    assert (chosen.shots, chosen.digits) == (0, Settings().tiny().digits)
    assert chosen.observed == 4  # no more than there are
    with pytest.raises(ValueError, match="observed=5"):
        settings("tiny", rows=4, observed=5)
    for text in ("1.0", "-1", "1e2", "x", "²", "1_0", "9" * 5000):
        with pytest.raises(ValueError, match="lengths"):
            numbers("lengths", text)


def test_chats_have_fewer_and_shorter_inputs():
    chosen = settings("small")
    assert chosen.sizes("addition") == (chosen.lengths, chosen.rows)
    lengths, count = chosen.sizes("reverse_chat")
    assert max(lengths) <= paper.CHAT_LONGEST < max(chosen.lengths)
    assert count == chosen.stories


def test_published_figures_stand_beside_ours():
    assert published("params_parity") == (2_200_000, "Table 3")
    assert published("solved_gated_hard_mixed") == (0.278, "llama-2-7b, 18 problems, Table 2")
    assert published("solved_program_hard_addition")[0] == 0.187
    assert published("solved_ungated_hard_subtraction")[0] == 0.063
    assert published("solved_ungated_addsub") == (0.8278, "code-davinci-002, Table 6")
    assert published("acc_gated_copy_40") == (1.0, "NC, a curve, Fig. 4")
    value, setting = published("acc_ungated_addition_30")
    assert value == 0.85
    assert "read off a curve" in setting
    for none in (
        "acc_gated_reverse_chat_5",
        "acc_ungated_addition_40",
        "acc_ungated_copy_3",
        "gate_ratio",
    ):
        assert published(none) == (None, None)
    # 27.8 against 11.1 are five problems of eighteen against two.
    for rates in paper.TABLE_2.values():
        for subset, n in zip(rates, paper.SUBSET_SIZES, strict=True):
            off = [min(abs(rate - 100 * k / n) for k in range(n + 1)) for rate in subset]
            assert max(off) < 0.06 or (n == 16 and max(off) < 1)


def test_what_changes_nothing_is_refused():
    paper.check_unheeded("paper", {"flips": "2", "t5_id": "x", "epochs": "1"})
    paper.check_unheeded("tiny", {"flips": "2", "t5_id": "", "epochs": ""})
    for preset, name in (("small", "flips"), ("tiny", "t5_id"), ("small", "epochs")):
        with pytest.raises(ValueError, match=f"{name}='2' goes unheeded"):
            paper.check_unheeded(preset, {name: "2"})


def test_a_run_that_cannot_succeed_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.hub.reachable", lambda: False)
    problems = tmp_path / "problems.json"
    problems.write_text('[{"sQuestion": "8 and 2?", "lSolutions": [6]}]')
    (tmp_path / "encoder").mkdir()
    for name, content in (("config.json", '{"model_type": "t5", "is_encoder_decoder": false}'),
                          ("pytorch_model.bin", ""), ("tokenizer.json", "{}")):  # fmt: skip
        (tmp_path / "encoder" / name).write_text(content)
    given = {"model_id": "symbols", "data_path": str(problems)}
    for changed, said in (
        ({}, "t5_id='google-t5/t5-base': .*cannot be reached"),
        ({"t5_id": "no/such-t5"}, "t5_id='no/such-t5': .*cannot be reached"),
        ({"t5_id": "symbols"}, f"t5_id='symbols': it is 'llama', and no T5.*{paper.T5}"),
        ({"t5_id": str(tmp_path / "encoder")}, "it is 't5', and no T5 with a decoder"),
        ({"t5_id": str(tmp_path)}, "is a folder without config.json"),
    ):
        with pytest.raises(ModelError, match=said):
            paper.preflight("paper", given | changed)
    with pytest.raises(DatasetError, match=r"addsub_path=.*no lEquations like"):
        paper.preflight("tiny", {"addsub_path": str(problems)})
    with pytest.raises(ValueError, match=r"addsub_path=.no\.json. is no file"):
        paper.preflight("tiny", {"addsub_path": "no.json"})
