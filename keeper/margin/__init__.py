"""Pricing and risk in floating point, from the textbook: the second telling of what the contracts compute.

It screens many accounts at once, and it checks the exact telling in ``protocols/options``: the two were written from
different sources and must agree within 1e-9 of gross notional.
"""
