"""One epoch of training: a step on each batch, many of them in one call where the step is native code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import TypeVar

from funcnet.compiler.program_cache import SPEC
from funcnet.errors import OptionError
from funcnet.random import Key
from funcnet.training.batches import Batch
from funcnet.training.evaluation import Mean, of_all_rows
from funcnet.training.fit_result import Fit
from funcnet.training.monitoring import Monitor
from funcnet.training.scan import Run, folded
from funcnet.training.steps import Metric
from funcnet.training.weighing import Weigh

P = TypeVar("P", default=Any)
GROUP_BYTES = 1 << 22  # the most bytes of batches for one call of native code


class Loop(NamedTuple):
    """What stays the same from epoch to epoch."""

    step: Any
    data: Any
    batch_size: int | None
    key: Key | None
    drop_last: bool
    validation: Any
    monitor: Monitor | None
    weigh: Weigh


def after_epoch(loop: Loop, fitted: Fit[P], batches: Iterator[Batch], key: Key | None) -> tuple[P, Any, dict[str, Any]]:
    """(params, state, the loss and the metrics of the epoch) after one step on each batch."""
    step, params, state, mean = loop.step, fitted.last, fitted.state, Mean()
    metrics: Mapping[str, Metric] = step.metrics
    parts: list[tuple[Any, ...]] = []
    if step.scans and not metrics and (key is None or not step.random):
        for group in grouped(batches):
            params, state = scanned(loop, params, state, group, mean)
    else:
        params, state, parts = stepped(loop, params, state, batches, key, mean)
    if not mean.batches:
        raise OptionError("fit: the data are empty: give at least one batch, anew in every epoch")
    return params, state, {"loss": mean.value(), **(of_all_rows(metrics, parts) if parts else {})}


def grouped(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """The batches in order, in groups of the same shapes and dtypes that take little memory."""
    group: list[Batch] = []
    for batch in batches:
        if group and ([*map(SPEC, batch)] != [*map(SPEC, group[0])] or len(group) * bytes_of(batch) > GROUP_BYTES):
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def bytes_of(batch: Batch) -> int:
    """The memory of a batch."""
    return sum(x.nbytes for x in batch)


def scanned(loop: Loop, params: Any, state: Any, group: list[Batch], mean: Mean) -> tuple[Any, Any]:
    """(params, state) after the steps on batches of one shape and dtype, in one call where that is possible."""
    arrays = tuple(np.stack(column) for column in zip(*group, strict=True))
    found = loop.step.scanned(params, state, arrays, None)
    if found is None:
        return stepped(loop, params, state, iter(group), None, mean)[:2]
    losses = found[2]["loss"] if isinstance(found[2], dict) else found[2]
    for loss, batch in zip(losses, group, strict=True):
        mean.add(loss, loop.weigh(batch))
    return found[0], found[1]


def stepped(
    loop: Loop, params: Any, state: Any, batches: Iterator[Batch], key: Key | None, mean: Mean
) -> tuple[Any, Any, list[tuple[Any, ...]]]:
    """(params, state, the outputs and targets where there are metrics) after one step after the other."""
    step, parts = loop.step, list[tuple[Any, ...]]()
    run: Run[Any] | None = None
    for place, batch in enumerate(batches):
        own = folded(step, key, place)
        if run is None or not run.takes(batch):
            params, state = (params, state) if run is None else run.finish()
            run = Run(step, params, state, batch, own)
        loss, outputs = run.advance(batch, own)
        if step.shows_outputs:
            parts.append((*outputs, *map(np.array, batch[step.taken(len(batch)) :])))
        mean.add(loss, loop.weigh(batch))
    return *((params, state) if run is None else run.finish()), parts
