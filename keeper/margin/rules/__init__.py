"""Margin as a rule engine: rule sets are data, one engine computes them.

text.py        JSON with places            parameters.py  what a rule set consists of
bind.py        JSON values into records    reference.py span.py tims.py pmrm.py srm.py venues.py
schema.py      what a file says            revalue.py     options in scenarios
reading.py     a file into a book          scan.py        the worst scenario of an underlying
book.py        what is held                strikes.py     the standard rules, without scenarios
engine.py      the margins                 charges.py spreads.py   what is added
derive.py      Derive's published cases as files, with copying.py, which keeps where each value came from
"""
