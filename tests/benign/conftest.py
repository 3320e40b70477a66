"""The corpus is written once for all tests of this folder."""

import pytest
from benign.corpus import Sample, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> list[Sample]:
    return write_corpus(tmp_path_factory.mktemp("benign"))
