"""The semidefinite programme of a small component in full, by a primal-dual interior-point method.

Where data are few, all matrix inequalities fit into a few small arrays, and some 15 Newton steps close any gap: degenerate
worst cases, ties of rows and boxes included, where column generation has to find multipliers and moments one by one.
"""

from .answer import atoms_of, multipliers_of, network_of
from .cost import operations
from .families import layout_of
from .method import central_path

__all__ = ["atoms_of", "central_path", "layout_of", "multipliers_of", "network_of", "operations"]
