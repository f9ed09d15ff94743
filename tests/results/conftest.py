"""A results file of each format."""

import pytest

from tests.results.results_files import SUFFIXES


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"answers{request.param}"
