"""What a forward pass does to its tensors: which operation made which, and which module was called on which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_VIEWS = frozenset(
    {"alias", "clone", "detach", "reshape", "squeeze", "unsqueeze", "view", "_reshape_copy", "_unsafe_view"}
)
"""Operations that keep the entries of every row in their order."""
_ELEMENTWISE = frozenset(
    {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_batch_norm_no_update"}
    | {"_prelu_kernel", "native_dropout", "_to_copy"}
)
"""Element-wise in evaluation mode, though torch does not tag them so."""


@dataclass(frozen=True)
class Operation:
    """One operation: what it read, out of those that depend on the input of the model."""

    sources: tuple[int, ...]
    view: bool
    elementwise: bool


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes
    ----------
    name : str
        Of the module within the model.
    module : torch.nn.Module
    began, ended : int
        Number of calls that had begun before it, and before it had ended.
    source, result : int or None
        Operations that made its first input and its output; None where these are no tensors that depend on the input.
    value, output : tensor or None
        Copies of the first input and of the output, where they are tensors.
    """

    name: str
    module: torch.nn.Module
    began: int
    ended: int
    source: int | None
    result: int | None
    value: torch.Tensor | None
    output: torch.Tensor | None


_Begun = tuple[int, "int | None", "torch.Tensor | None"]
"""Number, source and input of a call."""


class Trace(TorchDispatchMode):
    """Record of a forward pass of a model on one batch; see :func:`trace`."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.operations: list[Operation] = [Operation((), False, False)]  # the input itself
        self.calls: list[Call] = []
        self.output: Any = None
        self._made: dict[int, int] = {id(x): 0}
        self._alive: list[torch.Tensor] = [x]  # an id belongs to one tensor only while that lives

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it if it depends on the input of the model."""
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        sources = tuple(dict.fromkeys(self._made[id(tensor)] for tensor in read if id(tensor) in self._made))
        result = func(*args, **(kwargs or {}))
        if sources:
            name = func.overloadpacket.__name__
            view = name in _VIEWS
            elementwise = view or name in _ELEMENTWISE or torch.Tag.pointwise in func.tags
            self.operations.append(Operation(sources, view, elementwise))
            written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            if func._schema.is_mutable:  # what shares memory with the tensor written to changes with it
                places = {_place(tensor) for tensor in written}
                written += [tensor for tensor in self._alive if _place(tensor) in places]
            for tensor in written:
                self._made[id(tensor)] = len(self.operations) - 1
            self._alive += written
        return result

    def maker(self, value: Any) -> int | None:
        """Number of the operation that made a tensor; None for what does not depend on the input."""
        return self._made.get(id(value)) if isinstance(value, torch.Tensor) else None

    def counts(self) -> Counter[str]:
        """How often each module was called."""
        return Counter(call.name for call in self.calls)

    def only_through(self, result: int | None, gate: int | None) -> bool:
        """Whether a result depends on the input, and every way from the input to it goes through ``gate``."""
        return result is not None and gate is not None and 0 not in self._back(result, gate)

    def elementwise_between(self, gate: int | None, result: int | None, views: bool = False) -> bool:
        """Whether a result is made of ``gate`` by element-wise operations only, or by ``views`` only."""
        if result is None or gate is None:
            return False
        passed = self._back(result, gate)
        kinds = (self.operations[number] for number in passed if number != 0)
        return 0 not in passed and all(kind.view if views else kind.elementwise for kind in kinds)

    def _back(self, result: int, gate: int) -> set[int]:
        """Operations, 0 for the input, that are met on the ways back from a result that end at ``gate``."""
        met: set[int] = set()
        ahead = [result]
        while ahead:
            number = ahead.pop()
            if number != gate and number not in met:
                met.add(number)
                ahead += self.operations[number].sources
        return met


def trace(model: torch.nn.Module, x: torch.Tensor) -> Trace:
    """Run a model on a batch and record its operations and the calls of its modules.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    x : tensor (n, ...)
        The batch.

    Returns
    -------
    Trace
    """
    record = Trace(x)
    begun: list[_Begun] = []
    stack: list[_Begun] = []

    def enter(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        value = inputs[0] if inputs else None
        begun.append((len(begun), record.maker(value), _copy(value)))
        stack.append(begun[-1])

    def leave(name: str, module: torch.nn.Module, output: Any) -> None:
        began, source, value = stack.pop()
        call = Call(name, module, began, len(begun), source, record.maker(output), value, _copy(output))
        record.calls.append(call)

    handles = []
    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(
                    module.register_forward_hook(lambda module, inputs, output, name=name: leave(name, module, output))
                )
        with torch.no_grad(), record:
            record.output = model(x)
    finally:
        for handle in handles:
            handle.remove()
    return record


def _copy(value: Any) -> torch.Tensor | None:
    """A copy that later operations in place cannot change."""
    if not isinstance(value, torch.Tensor):
        return None
    return value.detach().clone()


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
