"""Compact networks by low rank: projections, factored layers, one budget for all layers, counts, reports and files."""
