"""Settings into code: whatever is wrong with protocols and strategies is said at once, each with its place."""

from pathlib import Path

import pytest

from keeper.loading import desks
from keeper.settings import Unusable, load

TEXT = """\
schema = 1

[chains.local]
id  = 31337
rpc = "/tmp/no.ipc"

[protocols.options]
chain   = "local"
adapter = "options"
reserve = 12
accont  = "0x"

[protocols.morpho]
chain   = "local"
adapter = "morpho"

[strategies.dutch]
use       = "strategies.dutch:Duch"
protocols = ["options"]
"""


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "keeper.toml"
    file.write_text(TEXT)
    with pytest.raises(Unusable) as caught:
        desks(load([file], (), {}))
    said = str(caught.value)
    for line, words in ((10, 'like "$25"'), (11, 'did you mean "account"?'), (15, "one of options"), (18, "'Duch'")):
        assert f"{file}:{line}:" in said and words in said
