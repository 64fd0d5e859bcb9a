"""Solvers of gated ReLU problems: a semismooth Newton method, proximal gradient steps, and an interior point finish.

Without balls the outputs are linear in the weights, and Newton's method on the proximal terms is fast; robust terms are
approached by gradient steps and finished by an interior point method over the gates in use.
"""
