"""Margin of very many accounts at once: what they hold in columns, what each series is worth in a table.

blocks     positions, eight legs of one underlying to a row
table      each series under each scenario, once
kernels    table times positions: compiled (numba), sparse (scipy) or plain (numpy)
slack      how far the market may move before an account needs another look
"""
