"""Thin Cython shells over the C core in csrc/, one module each.

A shell converts, releases the GIL and maps return codes to exceptions; behaviour lives in C, where it is
tested, fuzzed and starved of memory. The essay on each part is in csrc/include/gdp/*.h.
"""
