"""The own gang backend: room in the cluster, places in it, and the admission of whole gangs."""
