"""SSG among the methods: what it refuses before it trains."""

import pytest

from tests.retrievers.small import QUESTIONS
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.support_sets import EOS
from workbench.retrievers.support import ssg


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_fact_that_reads_as_the_end_is_refused_before_anything_is_encoded(split):
    splits = dict.fromkeys(("train", "dev", "test"), QUESTIONS[:2])
    wrong = Evidence("own", "q", ("Ada mends gates.", f" {EOS.upper()}"), ((ROOT, 0),))
    splits[split] = [*splits[split], wrong]
    with pytest.raises(ValueError, match="fact 1 reads ' <EOS>', which closes a set"):
        ssg(splits, None, 0)
