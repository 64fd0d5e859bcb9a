"""Run attacks on the rows of one batch and keep the best point of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..errors import InputError
from ..networks import GatedReLUNetwork, PolynomialNetwork
from ..networks.network import class_margins
from ._plans import Plan
from ._starts import Starts, across_gates
from .arguments import Scorer
from .goals import Goal, LossOfScores
from .margins import worst_case_margin
from .pgd import LossFunction, Neighbourhood, better

Values = tuple[torch.Tensor, torch.Tensor]

_CROSSINGS = 10  # gates that one point may cross in a row


def search(
    network: torch.nn.Module,
    score: Scorer,
    goal: Goal,
    ball: Neighbourhood,
    plans: Sequence[Plan],
    starts: Starts,
    numbers: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Attack the rows of a batch that are not predicted as the goal wants them.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    score : callable
        Its scores of flat points.
    goal : Goal
        Of the n rows.
    ball : Neighbourhood
        Of the n rows (n, d).
    plans : sequence of Plan
        What to run.
    starts : Starts
        Random points.
    numbers : tensor (n,)
        Numbers of the rows in the data set.

    Returns
    -------
    points : tensor (n, d)
    success : tensor (n,) of bool
    scores : tensor (n,) or (n, C)
    margins : tensor (n,)
        Of the labels.
    """
    points = ball.rows.clone()
    with torch.no_grad():
        scores = score(points)
        if not bool(torch.isfinite(scores).all()):
            raise InputError(
                "the scores of the network are not finite on the rows that are attacked; finite ones are needed."
            )
        todo = torch.nonzero(~goal.reached(scores))[:, 0]
    if len(todo):
        goals, balls, rest = goal[todo], ball[todo], numbers[todo.cpu()]
        best, best_merit = balls.rows, None
        for plan in plans:
            for point in _points(network, score, goals, balls, plan, starts, rest):
                with torch.no_grad():
                    best, best_merit = better(point, goals.merit(score(point)), best, best_merit)
        points[todo] = best
        with torch.no_grad():
            scores = score(points)
    return points, goal.reached(scores), scores, class_margins(scores, goal.labels)


def _points(
    network: torch.nn.Module,
    score: Scorer,
    goal: Goal,
    ball: Neighbourhood,
    plan: Plan,
    starts: Starts,
    numbers: torch.Tensor,
) -> Iterator[torch.Tensor]:
    """Give the points (n, d) that a plan finds, in the ball and the box."""
    if plan.method == "exact":
        assert isinstance(network, PolynomialNetwork)
        yield _worst_cases(network, goal, ball)
        return
    for aim in goal.each(plan.classes) if plan.classes else [goal]:
        for restart in range(plan.restarts):
            loss = plan.losses[restart % len(plan.losses)]

            def loss_fn(x: torch.Tensor, aim: Goal = aim, loss: LossOfScores = loss) -> Values:
                return aim.loss_and_merit(score(x), loss)

            start = ball.rows if restart == 0 else starts.draw(ball, numbers, restart)
            steepest = ball.steepest if plan.method == "fgsm" else starts.steepest(ball, numbers, restart)
            point = plan.run(loss_fn, start, ball, steepest)
            if isinstance(network, GatedReLUNetwork) and plan.method != "fgsm":
                point = _crossing(network, loss_fn, point, ball)
            yield ball.settle(point)


def _worst_cases(network: PolynomialNetwork, goal: Goal, ball: Neighbourhood) -> torch.Tensor:
    """The points (n, d) of smallest margin in l2 balls."""
    assert network.classes is not None
    labels = network.classes[goal.labels.cpu().numpy()]
    point = worst_case_margin(network, ball.rows, labels, ball.radius.cpu(), ball.norm).point
    assert isinstance(point, torch.Tensor)
    return ball.settle(point)


def _crossing(
    network: GatedReLUNetwork, loss_fn: LossFunction, point: torch.Tensor, ball: Neighbourhood
) -> torch.Tensor:
    """Cross the gate near a point behind which the merit is largest, again and again while it grows."""
    with torch.no_grad():
        merit = loss_fn(point)[1]
        for _ in range(_CROSSINGS):
            before = merit
            for candidate in across_gates(network, point, ball):
                point, merit = better(candidate, loss_fn(candidate)[1], point, merit)
            if not bool((merit > before).any()):
                break
    return point
