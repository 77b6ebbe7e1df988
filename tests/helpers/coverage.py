"""Worlds of known truth, drawn again and again: how often a 95 % interval holds what it should."""

from functools import cache

import numpy as np
from scipy.special import expit, roots_hermitenorm

from workbench.evaluation.intervals import SHARE, interval, layout

WORLDS = {
    "noise": (0.0, 0.0),
    "questions": (0.0, 1.5),
    "seeds": (0.4, 0.0),
    "seeds and questions": (0.4, 1.0),
    "identical": (0.0, 1.5),
}
"""World → spread of logits between seeds and between questions; identical: seeds are copies."""
DRAWS = 3
"""Random controls of each seed; half of their outcomes depend on seed and request alone."""


def truth(p, spread):
    """Logits' centre such that the mean of a logistic of spread `spread` is p."""
    x, weight = roots_hermitenorm(60)
    low, high = -40.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        below = weight @ expit(middle + spread * x) / weight.sum() < p
        low, high = (middle, high) if below else (low, middle)
    return middle


truth = cache(truth)


def outcomes(rng, world, p, seeds, n, own):
    """0/1 as `[seed, question]`, of mean p over all seeds and questions that there could be."""
    between, within = WORLDS[world]
    center = truth(p, float(np.hypot(between, within)))
    logits = center + between * rng.normal(size=(seeds, 1))
    logits = logits + within * rng.normal(size=(seeds if own else 1, n))
    if world == "identical":
        return np.repeat(rng.random((1, n)) < expit(logits[:1]), seeds, 0)
    return rng.random((seeds, n)) < expit(logits)


def control(rng, p, seeds, n):
    """Draws of a control as `[seed, draw, request]`; requests are shared by all."""
    shape = (seeds, DRAWS, n)
    logits = truth(p, float(np.hypot(0.5, 1.5))) + 1.5 * rng.normal(size=(1, 1, n))
    chance = expit(logits + 0.5 * rng.normal(size=(seeds, DRAWS, 1)))
    common = rng.random((seeds, 1, n))
    return np.where(rng.random(shape) < 0.5, common, rng.random(shape)) < chance


def units(seeds, n, own=False, draws=0):
    """The ids of `outcomes`, or of `control`."""
    shape = (seeds, draws or 1, n)
    seed, draw, question = (axis.ravel() for axis in np.indices(shape))
    ids = {"seeds": seed.tolist()}
    if draws:
        ids["draws"] = (seed * draws + draw).tolist()
    ids["questions"] = (seed * n + question if own else question).tolist()
    return ids


def coverage(world, p, seeds, n, own=False, repeats=1000):
    """Share of `repeats` in which the interval holds p."""
    draws = DRAWS if world == "control" else 0
    at = layout(units(seeds, n, own, draws), seeds * (draws or 1) * n)
    rng, held = np.random.default_rng(1), 0
    for _ in range(repeats):
        made = control(rng, p, seeds, n) if draws else outcomes(rng, world, p, seeds, n, own)
        low, high = interval(made.ravel().astype(float), at, limits=SHARE)
        held += low <= p <= high
    return held / repeats
