"""The way to the Kubernetes API.

`access`    configuration, authentication and transport; the only place that knows the `kubernetes` package
`errors`    what the API server refused, and what never reached it
"""
