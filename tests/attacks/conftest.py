"""The market of the protocol's tests: Alice has sold puts, the others are her counterparties and rivals."""

from tests.protocol.conftest import house, market

__all__ = ["house", "market"]
