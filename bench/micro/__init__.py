"""What the core's hot calls cost, as multiples of a calibration loop in the same process.

    cases.py       builds csrc/bench/cases.c with the core and loads it
    samples.py     the heads, bodies and events that are fed to it
    conftest.py    the gauge: times a case and the yardstick in turns
    budgets.json   what each case may cost; `pytest bench/micro --gate` fails above it

Times in C, not through the Python shells: a call of 20 ns would drown in the 60 ns of the crossing.
"""
