"""Callbacks: of :func:`convexadv.solve`, and of the trainings of deep models."""

from __future__ import annotations

from collections import Counter
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
        self.writer, self.tag, self.steps = _checked(writer), tag, 0

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


class TrainingBoard:
    """Log the records of a training, or of the stages of a compression, to TensorBoard, one step an epoch.

    For ``callback=`` of :func:`convexadv.training.train`, which gives records, and of :func:`convexadv.compress`, which gives
    the stage and the record: the curves of a stage are ``tag/stage/name``. Every number of a record is logged by its name, at
    the step ``epoch`` of the record, so that a run that is resumed goes on where it was.

    Parameters
    ----------
    writer : torch.utils.tensorboard.SummaryWriter
        Or anything with its ``add_scalar(tag, value, step)``; the caller closes it.
    tag : str
        Prefix of the curves' names: ``tag/loss`` and so on.

    Raises
    ------
    InputError
        If the writer has no ``add_scalar``.

    Examples
    --------
    >>> import torch
    >>> from convexadv.callbacks import TrainingBoard
    >>> from convexadv.training import Images, Settings, train
    >>> class Writer:  # torch.utils.tensorboard.SummaryWriter("runs/first") in earnest
    ...     def __init__(self):
    ...         self.tags = []
    ...     def add_scalar(self, tag, value, step, walltime=None):
    ...         self.tags.append(tag)
    >>> writer, images = Writer(), Images.of(torch.eye(4), [0, 1, 0, 1])
    >>> history = train(torch.nn.Linear(4, 2), images, settings=Settings(epochs=2), callback=TrainingBoard(writer))
    >>> writer.tags[-3:]
    ['train/loss', 'train/rate', 'train/seconds']
    """

    def __init__(self, writer: Any, tag: str = "train"):
        self.writer, self.tag = _checked(writer), tag
        self.steps: Counter[str] = Counter()

    def __call__(self, *stage_and_record: Any) -> bool:
        """Log one record; never ends the training.

        Parameters
        ----------
        *stage_and_record : dict, or str and dict
            The record of an epoch; before it the stage, where there are stages. Without an ``epoch`` in it, records are
            counted.

        Returns
        -------
        bool

        Raises
        ------
        InputError
            If the last argument is not a dict.
        """
        *stages, record = stage_and_record
        if not isinstance(record, dict):
            raise InputError(f"a {type(record).__name__} was given; the record of an epoch, a dict, is needed.")
        tag = "/".join([self.tag, *map(str, stages)])
        self.steps[tag] += 1
        step = int(record.get("epoch", self.steps[tag]))
        for name, value in record.items():
            if name != "epoch":
                self.writer.add_scalar(f"{tag}/{name}", value, step)
        return False


def _checked(writer: Any) -> Any:
    if not callable(getattr(writer, "add_scalar", None)):
        raise InputError(
            f"writer is a {type(writer).__name__}; one with add_scalar, such as a SummaryWriter, is needed."
        )
    return writer
