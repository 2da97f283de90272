"""A frontend under load, as its own `/metrics` tells it: scraped twice a second, computed, drawn.

`scrapes`   what a page says, and what happened between two of them
`load`      requests that come at a rate that changes
`picture`   six panels
"""
