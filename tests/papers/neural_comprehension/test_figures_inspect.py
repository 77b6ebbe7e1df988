"""Figures of a network show the numbers that it has."""

import pytest

from workbench.papers.neural_comprehension.figures_inspect import (
    attention_maps,
    margin_curves,
    stream_map,
)
from workbench.papers.neural_comprehension.inspect_network import inspected, read
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
    assert "0 from the reference at most" in figure.layout.title.text


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


def test_margins_are_lines_by_dtype():
    figure = margin_curves({"float32": {1: 1.0, 2: 0.9}, "bfloat16": {1: 0.5, 2: -0.2}}, "ones")
    assert [(line.name, list(line.x), list(line.y)) for line in figure.data] == [
        ("float32", [1, 2], [1.0, 0.9]), ("bfloat16", [1, 2], [0.5, -0.2])
    ]  # fmt: skip
