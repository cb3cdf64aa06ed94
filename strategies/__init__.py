"""Strategies: pure functions of what they are shown, meant to be read and copied.

They import ``keeper.model`` and ``keeper.ports`` only. A configuration names one as ``strategies.dutch:Dutch``.
"""
