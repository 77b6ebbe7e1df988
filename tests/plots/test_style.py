"""The lines of a figure stay apart for colour-blind readers."""

from itertools import combinations

import numpy as np
import pytest

from workbench.plots.style import COLOURS

# Machado, Oliveira and Fernandes 2009, severity 1; they act on linear sRGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1], [1.089]])


def linear(colour):
    code = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIE 1976 L*a*b* under D65 of a linear sRGB colour."""
    x = XYZ @ light.clip(0, 1)
    x, y, z = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours, sight):
    seen = [lab(SIGHT[sight] @ linear(c)) for c in colours]
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_every_two_colours_are_apart(sight):
    assert nearest(COLOURS, sight) > 25


def test_the_measure_finds_what_red_blindness_confuses():
    blue_and_purple = ("#2f6db3", "#8457a6")
    assert nearest(blue_and_purple, "normal") > 25
    assert nearest(blue_and_purple, "protanopia") < 5


def test_white_is_as_far_from_black_as_can_be():
    assert nearest(("#ffffff", "#000000"), "normal") == pytest.approx(100, abs=0.1)


def test_lines_show_on_white():
    """WCAG's contrast, which asks 3 of thin lines; ours are thick or have markers."""
    for colour in COLOURS:
        assert 1.05 / (np.array([0.2126, 0.7152, 0.0722]) @ linear(colour) + 0.05) > 2
