"""One diff of the toy models, and its table, for all tests of features."""

import pytest

from tests.helpers.feature_toys import HOOK, POLICY, REFERENCE, ROWS, SAE
from workbench.sae.diff import diff_features
from workbench.sae.pooling import Constraint
from workbench.sae.table import feature_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    return diff_features(
        POLICY, REFERENCE, ROWS, SAE, HOOK, folder, Constraint(k=5, alpha=0.7, beta=0.9),
        batch=3, shard=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(run):
    return feature_table(run, SAE, permutations=200)
