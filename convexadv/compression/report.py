"""What compression did, layer by layer: ranks, energy kept, parameters, multiply-adds, latency."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from .._json import to_json
from ..errors import InputError
from .counting import LayerCount, count, run_once
from .latency import measure_latency
from .layers import LowRankLinear, TuckerConv2d, merged_weight
from .projection import Ranks


@dataclass(frozen=True)
class LayerReport:
    """One layer before and after.

    Attributes
    ----------
    name : str
        Its name in the model.
    ranks : (R_out, R_in), int or "dense"
        Of each group.
    energy_kept : float or None
        1 - ||W - W'||^2 / ||W||^2 between the weights W of the model that was given and W' of the compressed one, factors
        multiplied out, without unit. Right after factorising it is the share of the energy ||W||^2 that the projection
        kept, from 0 to 1; training on lowers it by what it moves the layer, below 0 where that is farther than ||W||.
        None where there is no such pair of weights.
    parameters, flops : (int, int)
        Of the layer before and after.
    latency : (float, float) or None
        Median seconds of the layer alone on its own inputs, before and after.
    """

    name: str
    ranks: Ranks
    energy_kept: float | None
    parameters: tuple[int, int]
    flops: tuple[int, int]
    latency: tuple[float, float] | None = None


@dataclass(frozen=True)
class CompressionReport:
    """A model before and after.

    Attributes
    ----------
    layers : tuple of LayerReport
        In the order in which they run.
    parameters, flops : (int, int)
        Of the whole model before and after.
    latency : (float, float) or None
        Median seconds of the whole model for one sample, before and after, measured in turn.
    threads : int or None
        CPU threads of the latencies.
    """

    layers: tuple[LayerReport, ...]
    parameters: tuple[int, int]
    flops: tuple[int, int]
    latency: tuple[float, float] | None = None
    threads: int | None = None

    def table(self) -> str:
        """Write the report as a Markdown table.

        Returns
        -------
        str
        """
        timed = self.latency is not None
        head = [
            "layer",
            "ranks (out, in)",
            "energy kept",
            "parameters",
            "multiply-adds",
            *(["latency, ms"] if timed else []),
        ]
        rows = [head, ["---"] * len(head)]
        rows += [_row(each.name, _ranks_text(each.ranks), each, timed) for each in self.layers]
        rows.append(_row("whole model", "", self, timed))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def to_json(self) -> str:
        """Write the report as JSON: the attributes by their names.

        Returns
        -------
        str
        """
        return to_json(asdict(self), indent=None)


def compression_report(
    original: nn.Module,
    compressed: nn.Module,
    input_shape: tuple[int, ...],
    *,
    latency: bool = False,
    repeats: int = 30,
    threads: int | None = 1,
) -> CompressionReport:
    """Compare a model with its compressed form.

    Parameters
    ----------
    original, compressed : torch.nn.Module
        With the same names of layers.
    input_shape : tuple of int
        Shape of one sample.
    latency : bool
        Whether to measure latencies, of the whole models and of every layer, in turn.
    repeats : int
        Rounds of each measurement.
    threads : int or None
        Threads of torch on the CPU while measuring; None leaves them as they are.

    Returns
    -------
    CompressionReport

    Raises
    ------
    InputError
        If a model does not run on the shape, or the compressed one lacks a layer of the original.

    Examples
    --------
    >>> import torch
    >>> from convexadv.compression import compression_report, factorise_model
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3, bias=False))
    >>> report = compression_report(model, factorise_model(model, {"0": (4, 4)}), (16, 8, 8))
    >>> report.parameters, report.layers[0].ranks
    ((4608, 336), (4, 4))
    """
    before, after = count(original, input_shape), count(compressed, input_shape)
    there = {layer.name: layer for layer in after.layers}
    missing = [layer.name for layer in before.layers if layer.name not in there]
    if missing:
        raise InputError(
            f"the compressed model has no layer {missing[0]}; the compressed form of the same model is needed."
        )
    times: dict[str, tuple[float, float]] = {}
    whole = None
    if latency:
        weight = next(original.parameters())
        sample = torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)
        whole = _pair(original, compressed, sample, repeats, threads)
        for name, given in _inputs(original, [layer.name for layer in before.layers], input_shape).items():
            parts = (original.get_submodule(name), compressed.get_submodule(name))
            times[name] = _pair(*parts, given, repeats, threads)
    layers = tuple(
        _layer(original, compressed, layer, there[layer.name], times.get(layer.name)) for layer in before.layers
    )
    used = (threads or torch.get_num_threads()) if latency else None
    return CompressionReport(layers, (before.parameters, after.parameters), (before.flops, after.flops), whole, used)


def _layer(
    original: nn.Module,
    compressed: nn.Module,
    before: LayerCount,
    after: LayerCount,
    latency: tuple[float, float] | None,
) -> LayerReport:
    old, new = original.get_submodule(before.name), compressed.get_submodule(before.name)
    ranks: Ranks = new.ranks if isinstance(new, TuckerConv2d | LowRankLinear) else "dense"
    counts = (before.parameters, after.parameters), (before.flops, after.flops)
    return LayerReport(before.name, ranks, _energy_kept(old, new), *counts, latency)


def _energy_kept(old: nn.Module, new: nn.Module) -> float | None:
    weights = [merged_weight(module) for module in (old, new)]
    if weights[0].shape != weights[1].shape:
        return None
    first, second = (weight.cpu() for weight in weights)
    total = float(first.square().sum())
    return 1.0 - float((first - second).square().sum()) / total if total > 0 else None


def _pair(
    first: nn.Module, second: nn.Module, inputs: torch.Tensor, repeats: int, threads: int | None
) -> tuple[float, float]:
    found = measure_latency({"before": first, "after": second}, inputs, repeats=repeats, threads=threads)
    return found.median("before"), found.median("after")


def _inputs(model: nn.Module, names: list[str], input_shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """What each layer is given when the model runs on zeros."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            seen[name] = given[0].detach()

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(keep(name)) for name in names]
    try:
        run_once(model, input_shape)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _row(name: str, ranks: str, each: LayerReport | CompressionReport, timed: bool) -> list[str]:
    kept = getattr(each, "energy_kept", None)
    row = [name, ranks, "" if kept is None else f"{kept:.4f}"]
    row += [f"{before:,} → {after:,}" for before, after in (each.parameters, each.flops)]
    if timed:
        row.append("" if each.latency is None else " → ".join(f"{1e3 * value:.3g}" for value in each.latency))
    return row


def _ranks_text(ranks: Ranks) -> str:
    return ", ".join(map(str, ranks)) if isinstance(ranks, tuple) else str(ranks)
