"""What a reader may count on."""

import re

import pytest

from tests.architecture.test_arrows import FILES

LONGEST = 400  # lines


@pytest.mark.parametrize("module", [name for name in FILES if name != "keeper.model"])  # one page for all nouns
def test_a_file_fits_into_a_head(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", FILES)
def test_nothing_is_left_for_later(module: str) -> None:
    assert re.findall(r"\b(?:TODO|FIXME|XXX)\b.*", FILES[module].read_text()) == []
