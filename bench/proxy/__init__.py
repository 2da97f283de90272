"""What the frontend costs, beside nginx and a plain aiohttp proxy, in one run on the same two CPUs.

work.py      the loads and the rows they answer for, with their bounds
bodies.py    request bodies
c/           the instruments: fake vLLM workers, load generator
tools.py     builds them
peers.py     how each proxy is started
procs.py     processes on one CPU, ended by pid whatever happens
measure.py   one window of one load on one proxy
run.py       the order of windows: proxies take turns, repetition by repetition
rows.py      windows -> rows (pure)
"""
