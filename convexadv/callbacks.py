"""Callbacks for :func:`convexadv.solve`."""

from __future__ import annotations

from typing import Any

from .errors import InputError


class TensorBoard:
    """Log objective, lower bound, relative gap and neurons of a solve to TensorBoard, one step a record.

    Parameters
    ----------
    writer : torch.utils.tensorboard.SummaryWriter
        Or anything with its ``add_scalar(tag, value, step, walltime)``; the caller closes it.
    tag : str
        Prefix of the curves' names: ``tag/objective`` and so on.

    Raises
    ------
    InputError
        If the writer has no ``add_scalar``.

    Examples
    --------
    >>> import convexadv as ca
    >>> from convexadv.callbacks import TensorBoard
    >>> class Writer:  # torch.utils.tensorboard.SummaryWriter("runs/first") in earnest
    ...     def add_scalar(self, tag, value, step, walltime=None):
    ...         self.last = tag
    >>> callback = TensorBoard(Writer(), tag="first")
    >>> problem = ca.PolynomialProblem([[1.0], [-1.0]], [1, 0])
    >>> solution = ca.solve(problem, callback=callback)
    >>> callback.steps > 0, callback.writer.last
    (True, 'first/seconds')
    """

    def __init__(self, writer: Any, tag: str = "solve"):
        if not callable(getattr(writer, "add_scalar", None)):
            raise InputError(
                f"writer is a {type(writer).__name__}; one with add_scalar, such as a SummaryWriter, is needed."
            )
        self.writer, self.tag, self.steps = writer, tag, 0

    def __call__(self, record: Any) -> bool:
        """Log one record; never ends the solve.

        Parameters
        ----------
        record : convexadv.solvers.solution.Record

        Returns
        -------
        bool
        """
        scale = max(abs(record.objective), 1e-300)
        values = {
            "objective": record.objective,
            "lower_bound": record.lower_bound,
            "relative_gap": (record.objective - record.lower_bound) / scale,
            "neurons": record.neurons,
            "seconds": record.time,
        }
        for name, value in values.items():
            self.writer.add_scalar(f"{self.tag}/{name}", value, self.steps)
        self.steps += 1
        return False
