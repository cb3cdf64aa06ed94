"""keeper: a liquidation keeper. Live, dry run and backtest are one code path."""

__version__ = "0.1.0"
