"""What is measured, and how others may read it.

`prometheus`   the plane's counters and histograms as metric families
"""
