"""Routing quality in virtual time: which policy lets requests answer soonest, behind the same queue."""
