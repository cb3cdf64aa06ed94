"""The options clearing house: Solidity in ``contracts/``, told again in Python, and its adapter.

    contracts/            here
    lib/Black76, solady   maths.py      fixed point: exp, ln, normal distribution, Black-76
    Oracle.sol            oracle.py     feeds, marks, smiles, settlement average, live clock
    Risk.sol              risk.py       equity, requirement, worst scenario
    Liquidator.sol        auction.py    discount, price, largest slice
    Params.sol            params.py     parameter sets and their bounds
    Clearing.sol          book.py       accounts from events
    -                     adapter.py    ports.Adapter

All of it is exact: the same integers as the contracts. ``keeper.margin`` tells the same formulas a second time
in floating point, from the textbook and not from the Solidity.
"""
