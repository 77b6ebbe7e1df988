"""Figures of a network show the numbers that it has."""

import pytest

from workbench.papers.neural_comprehension.figures_inspect import (
    attention_maps,
    stream_map,
)
from workbench.papers.neural_comprehension.inspect_network import attention, inspected, read
from workbench.papers.neural_comprehension.tasks import task


@pytest.fixture(scope="module")
def run():
    return read(inspected(task("addition").program(16), 16, "addition"), "57+68=")


def test_attention_lies_beside_what_the_reference_predicts(run):
    figure = attention_maps(run, "carry")
    head, reference = figure.data
    assert head.z == reference.z
    assert list(head.x) == ["BOS", *head.y]
    assert len(head.z) == 6
    assert [len(row) for row in head.z] == [7] * 6
    # The last slot's carry comes from nowhere, the one before it from the last slot.
    assert head.z[5][0] == 1
    assert head.z[4][6] == 1
    assert "at most 0 away from the reference" in figure.layout.title.text
    assert head.zmax == reference.zmax == 1


def test_attention_that_many_share_is_seen_and_its_keys_are_told_apart():
    count = read(inspected(task("parity").program(48), 48, "parity"), "1" * 40)
    figure = attention_maps(count, "parity")
    assert {heat.zmax for heat in figure.data} == {float(attention(count, "parity")[1].max())}
    assert figure.data[0].zmax == pytest.approx(1 / 41)
    assert figure.layout.xaxis.tickangle == -90


def test_the_stream_is_drawn_as_it_is_and_what_was_written_is_framed(run):
    figure = stream_map(run, 1)
    (heat,) = figure.data
    shown = [[value for _, value in row] for row in heat.customdata]
    assert shown == run.streams[1].tolist()
    assert all(abs(z) <= 1 for row in heat.z for z in row)
    thick = [shape for shape in figure.layout.shapes if shape.line.width == 2]
    written = [node for node in run.inspected.variables.values()
               if run.inspected.compiled.depth[node] == 1]  # fmt: skip
    assert len(thick) == len(written) == 3
    labels = [label for label, _ in heat.customdata[0]]
    for shape, node in zip(thick, written, strict=True):
        dims = list(run.inspected.compiled.of[node].values())
        assert (shape.x0, shape.x1) == (dims[0] - 0.5, dims[-1] + 0.5)
        assert labels[dims[0]].startswith(node.name)


def test_every_dimension_of_the_stream_lies_in_a_block_with_a_name(run):
    for each in (run, read(inspected(task("parity").program(4), 4, "parity"), "110")):
        figure, size = stream_map(each, 0), each.streams.shape[2]
        blocks = sorted((shape.x0 + 0.5, shape.x1 + 0.5) for shape in figure.layout.shapes)
        assert (blocks[0][0], blocks[-1][1]) == (0, size)
        assert [end for _, end in blocks[:-1]] == [start for start, _ in blocks[1:]]
        named = ", ".join(figure.layout.xaxis.ticktext).split(", ")
        assert set(named) == {"constants", *each.inspected.variables}


@pytest.mark.parametrize("step", [9, -1, "embedding"])
def test_a_step_that_is_none_is_named(run, step):
    with pytest.raises(ValueError, match="step="):
        stream_map(run, step)
