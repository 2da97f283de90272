"""What measuring costs: one observation, one question about the last minutes, one page.

observations.py  from C, and from Python beside prometheus-client's
windows.py       quantiles and rates of 1 to 900 seconds, and the memory that they stand on
pages.py         a page of 1,000 histograms beside prometheus-client's
"""
