"""Routing quality in virtual time: which placement policy lets requests answer soonest, behind the same queue."""
