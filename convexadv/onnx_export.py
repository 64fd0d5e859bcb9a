"""ONNX files of networks: raw inputs in, scores out, for runtimes without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ._arrays import to_numpy
from ._atomic import atomic_write
from ._version import __version__
from .errors import InputError, wrong_kind
from .networks import GatedReLUNetwork, Network, PolynomialNetwork, ReLUNetwork

_OPSET, _IR_VERSION = 17, 8


def export_onnx(network: Network, path: str | os.PathLike[str] | None = None) -> Any:
    """Write a network as an ONNX graph ``x (n, d) -> scores (n,) or (n, C)``, in the precision of its weights.

    The graph is that of the network's definition: input scaling, neurons, activation, coefficients. The labels are in the
    metadata of the model (``classes``, JSON; a positive two-class score speaks for the second), beside the version.

    Parameters
    ----------
    network : PolynomialNetwork, ReLUNetwork or GatedReLUNetwork
        float32 for runtimes that know no other precision.
    path : str or path-like, optional
        File to be written, complete or absent.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    InputError
        If it is another network, or the package onnx is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import convexadv as ca
    >>> network = ca.ReLUNetwork([[1.0], [-1.0]], [1.0, 1.0])
    >>> model = ca.export_onnx(network, "network.onnx")
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession("network.onnx")
    >>> session.run(["scores"], {"x": np.array([[-3.0], [2.0]])})[0]
    array([3., 2.])
    """
    try:
        import onnx
    except ImportError:
        raise InputError("the package onnx is not installed; pip install 'convexadv[onnx]' brings it.") from None

    body = _BODIES.get(type(network))
    if body is None:
        raise wrong_kind(network, f"one of {', '.join(kind.__name__ for kind in _BODIES)}")
    graph = _Graph(onnx, network)
    scores = body(graph, graph.scaled(), network)
    made = graph.model(scores, network)
    onnx.checker.check_model(made)
    if path is not None:
        with atomic_write(path, "wb") as file:
            file.write(made.SerializeToString())
    return made


class _Graph:
    """Nodes and constants, named in the order in which they come."""

    def __init__(self, onnx: Any, network: Network):
        self.onnx, self.dtype = onnx, to_numpy(network.shift).dtype
        self.network, self.nodes, self.constants = network, [], []  # type: ignore[var-annotated]

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(to_numpy(value), dtype=dtype or self.dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def scaled(self) -> str:
        shift, scale = self.constant(self.network.shift), self.constant(self.network.scale)
        if self.network.n_features == 1:  # onnxruntime fuses a constant of one entry with the product, in float32
            scale = self.node("Expand", scale, self.node("Shape", "x"))
        return self.node("Div", self.node("Sub", "x", shift), scale)

    def model(self, scores: str, network: Network) -> Any:
        helper = self.onnx.helper
        if network.n_outputs == 1:
            scores = self.node("Squeeze", scores, self.constant([1], np.int64))
        self.nodes.append(helper.make_node("Identity", [scores], ["scores"]))
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        shape = ["n"] if network.n_outputs == 1 else ["n", network.n_outputs]
        graph = helper.make_graph(
            self.nodes,
            type(network).__name__,
            [helper.make_tensor_value_info("x", kind, ["n", network.n_features])],
            [helper.make_tensor_value_info("scores", kind, shape)],
            self.constants,
        )
        made = helper.make_model(
            graph,
            producer_name="convexadv",
            producer_version=__version__,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        classes = None if network.classes is None else network.classes.tolist()
        helper.set_model_props(made, {"classes": json.dumps(classes)})
        return made


def _polynomial(graph: _Graph, z: str, network: Any) -> str:
    neurons, coefficients = _rows(network.neurons), _rows(network.coefficients)
    a, b, c = (graph.constant(value) for value in network.activation)
    inner = graph.node("MatMul", z, graph.constant(neurons.T))
    square = graph.node("Mul", graph.node("Add", graph.node("Mul", inner, a), b), inner)
    return graph.node("MatMul", graph.node("Add", square, c), graph.constant(coefficients))


def _relu(graph: _Graph, z: str, network: Any) -> str:
    neurons, biases, coefficients = (_rows(part) for part in (network.neurons, network.biases, network.coefficients))
    inner = graph.node("Add", graph.node("MatMul", z, graph.constant(neurons.T)), graph.constant(biases))
    return graph.node("MatMul", graph.node("Relu", inner), graph.constant(coefficients))


def _gated(graph: _Graph, z: str, network: Any) -> str:
    parts = (network.gates, network.gate_biases, network.weights, network.biases)
    gates, offsets, weights, biases = (_rows(part) for part in parts)
    m, d, outputs = weights.shape
    side = graph.node("Add", graph.node("MatMul", z, graph.constant(gates.T)), graph.constant(offsets))
    closed = graph.node("Unsqueeze", graph.node("Less", side, graph.constant(0.0)), graph.constant([2], np.int64))
    flat = graph.node("MatMul", z, graph.constant(weights.transpose(1, 0, 2).reshape(d, m * outputs)))
    inner = graph.node("Reshape", flat, graph.constant([-1, m, outputs], np.int64))
    own = graph.node("Add", inner, graph.constant(biases))
    open_only = graph.node("Where", closed, graph.constant(0.0), own)
    return graph.node("ReduceSum", open_only, graph.constant([1], np.int64), keepdims=0)


def _rows(value: Any) -> np.ndarray:
    """Weights as an array; the zero network, which has none, gets a neuron of zeros: runtimes know no empty matrices."""
    array = to_numpy(value)
    return array if len(array) else np.zeros((1, *array.shape[1:]), array.dtype)


_BODIES: dict[type, Callable[[_Graph, str, Any], str]] = {
    PolynomialNetwork: _polynomial,
    ReLUNetwork: _relu,
    GatedReLUNetwork: _gated,
}
