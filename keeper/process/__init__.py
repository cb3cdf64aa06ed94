"""The keeper as a process among others: is it well, who may ask, who watches it, whose turn it is."""
