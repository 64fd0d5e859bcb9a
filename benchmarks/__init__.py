"""Benchmarks of convexadv: every number that the documentation states is produced by a command in this folder."""
