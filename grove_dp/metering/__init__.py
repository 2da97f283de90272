"""What is measured, and how others may read it.

`prometheus`   the plane's counters and histograms as metric families
`scrape`       the load that a worker's own metrics tell
"""
