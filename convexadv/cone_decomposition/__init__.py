r"""From a gated ReLU network to a ReLU network with the same training predictions: cone decomposition.

A block v of gate k is the difference v = a - b of two vectors of the cone K_k = {u : (2 D_k - I) X u >= 0}; then
max(0, x_i'a) - max(0, x_i'b) = D_ik x_i'v on every row ([MSP22] Mishkin, Sahiner, Pilanci, arXiv 2202.01331). Sought is
the least ||a||_2 + ||b||_2. With a = c + v/2, b = c - v/2 and A = (2 D_k - I) X, both cones together are one polyhedron,

    minimise ||c + v/2||_2 + ||c - v/2||_2   subject to   A c >= |A v| / 2,

and where the gradients of the two norms are added up, the condition of optimality reads

    c = projection of t v on the polyhedron,    t = (||a|| - ||b||) / (2 (||a|| + ||b||)),   |t| <= 1/2:

a cone programme of D variables becomes the root of a function of one variable, whose values are least distance problems.
Rows enter them when they are violated, and leave when they are not active.
"""

from .decomposition import ConeDecomposition, OutputChange, gated_to_relu, relu_problem_of

__all__ = ["ConeDecomposition", "OutputChange", "gated_to_relu", "relu_problem_of"]
