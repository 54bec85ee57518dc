"""A training step, a gradient or a network as one file of C99, for machines without Python."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, Labels
from funcnet.calling import checks_call
from funcnet.errors import ExportError
from funcnet.exports.c.names import c_name
from funcnet.exports.c.update import read_update, state_text, update_lines
from funcnet.exports.c.writer import BAD_LABEL, BAD_MASK, C99, NO_WEIGHT, OWN_NAMES
from funcnet.exports.described import Described, describe, is_integer, is_mask
from funcnet.native.updates import Update
from funcnet.native.writing import INDICES, in_comment, row_major
from funcnet.options import flag
from funcnet.tracing.trace import Value
from funcnet.training.gradients import SGDStep
from funcnet.training.scan import has_state
from funcnet.training.steps import TrainStep

WIDTH = 110  # characters of a line of numbers


class Argument(NamedTuple):
    """An argument of the C function, and its comment."""

    text: str
    comment: str


@checks_call
def to_c(function: Any, params: Any, *arrays: Array | Labels, name: str = "net", embed: bool = False) -> str:
    """A training step, a gradient or a network as the text of one C99 file, for machines without Python.

        source = fn.to_c(step, params, x, target, name="train")
        Path("train.c").write_text(source)

    function: a step of `fn.sgd_step` or `fn.train_step`, which updates params, and the optimizer's state, in place;
    a gradient of `fn.value_and_grad`; or a network or any other layer, which computes outputs.
    arrays: example arguments; the file is for arrays of these shapes, and for the dtype of the params.
    name: the name of the C function, with which every other name in the file begins.
    embed: for a network or a layer: the params are constants in the file, not an argument.
    The file includes <math.h> alone and allocates nothing: its working memory is static, so that one thread at a time
    may call it. Its first comment describes the call and every array, by the keys of the operators.
    Results are those of the function without a random key, to rounding: sums are added up in another order, and
    functions are the C library's. It returns 0, or a number above 0 for a label or a length out of range, for weights
    that add up to 0, and for a mask that is 0 everywhere; params and state are then unchanged. -std=c99 -Wall -Wextra
    -pedantic gives no warning.
    Raises ExportError for a custom layer, for a NumPy function that C lacks, for an optimizer with a schedule, a mask
    or norms of single arrays, for a name that is reserved in C, and for embed=True of a step or gradient; OptionError
    for another embed; and the errors of the function itself.
    """
    described = describe("to_c", function, params, arrays, ())
    embed = flag("to_c: embed", embed)
    if embed and described.gradient:
        raise ExportError("to_c: embed=True makes constants of the params, which only a network leaves as they are")
    return _File(described, c_name("to_c", name, OWN_NAMES), embed).text()


class _File:
    """One file of source."""

    def __init__(self, described: Described, name: str, embed: bool) -> None:
        self.described = described
        self.name = name
        self.embed = embed
        direct = self._direct_outputs()
        self.writer = C99(described, name, f"{name}_params" if embed else "params", direct)
        self.T: str = self.writer.T
        self.count: int = described.layout.count
        step: Any = described.function
        self.update: Update | None = read_update(self.writer, step) if has_state(step) else None
        self.writer.write()
        self._hand_out(direct)

    def _outputs(self) -> list[Value]:
        plan = self.described.plan
        outputs: list[Value] = plan.outputs
        return outputs[:1] if self.described.gradient else outputs

    def _direct_outputs(self) -> dict[str, Value]:
        """Outputs that are computed where the caller wants them, by their names: all that lie there row by row."""
        found: dict[str, Value] = {}
        outputs = self._outputs()
        for name, y in zip(self._output_names(), outputs, strict=True):
            alone = sum(other.root is y.root for other in outputs) == 1
            plain = y.base is None and y.call is not None and y.order is None
            if not self.described.gradient and plain and alone and y.shape:
                found[name] = y
        return found

    def _output_names(self) -> list[str]:
        if self.described.gradient:
            return ["loss"]
        count = len(self.described.plan.outputs)
        return ["y"] if count == 1 else [f"y{i}" for i in range(count)]

    def _hand_out(self, direct: dict[str, Value]) -> None:
        """Copy outputs that stand elsewhere to the caller."""
        writer = self.writer
        for name, y, factor in zip(self._output_names(), self._outputs(), self.described.plan.factors, strict=False):
            if name not in direct:
                indices = INDICES[: y.ndim]
                scale = "" if factor == 1.0 else f"{writer.number(factor)} * "
                line = f"{name}[{row_major(y.shape, indices)}] = {scale}{writer.element(y, indices)};"
                writer.loops(y.shape, range(y.ndim), [line])

    def _array(self, kind: str, name: str, shape: Sequence[int], comment: str) -> Argument:
        return Argument(f"{kind} {name}[{max(1, prod(shape))}]", f"{name}: {comment}, shape {tuple(shape)}, row by row")

    def arguments(self) -> list[Argument]:
        """What the function takes."""
        d, T = self.described, self.T
        found: list[Argument] = []
        if self.count and not self.embed:
            changed = isinstance(d.function, (SGDStep, TrainStep))
            what = "all params, one behind the other as listed below" + (", updated in place" if changed else "")
            found.append(Argument(f"{'' if changed else 'const '}{T} params[{self.count}]", f"params: {what}"))
        if self._has_state():
            found.append(Argument(f"{self.name}_state *state", f"state: the optimizer's, made by {self.name}_init"))
        for i, (name, x) in enumerate(zip(self.writer.keys.inputs, d.plan.inputs, strict=True)):
            kind, what = f"const {T}", ""
            if is_integer(x):
                kind, what = "const int", ", of labels or lengths"
            elif is_mask(x):
                kind, what = "const unsigned char", ", a mask of 0 and 1"
            found.append(self._array(kind, name, x.shape, f"array {i}{what}"))
        for name, y in zip(self._output_names(), self._outputs(), strict=True):
            what = "the loss, before the update" if self._updates() else "the loss" if d.gradient else "the output"
            found.append(self._array(T, name, y.shape, what))
        if d.gradient and not self._updates() and self.count:
            found.append(Argument(f"{T} gradient[{self.count}]", "gradient: of the loss by the params, in their order"))
        return found

    def _updates(self) -> bool:
        return isinstance(self.described.function, (SGDStep, TrainStep))

    def _has_state(self) -> bool:
        return self.update is not None and bool(self.update.vectors or self.update.counts)

    def text(self) -> str:
        """The file."""
        body, w = self._body(), self.writer
        size = (w.placement.size - w.placement.start) // self.described.plan.dtype.itemsize
        signature = f"int {self.name}({', '.join(argument.text for argument in self.arguments())})"
        parts = [
            self._comment(signature),
            "#include <math.h>\n",
            *(f"{line}\n" for line in self.writer.helpers()),
            state_text(self.writer, self.update, self.count) if self.update and self._has_state() else "",
            self._constants(),
            f"static {self.T} {self.name}_memory[{size}];\n" if size else "",
            f"static {self.T} {self.name}_scratch[{w.scratch_size}];\n" if w.scratch_size else "",
            f"static long {self.name}_ends[{w.longest}];\n" if w.longest else "",
            f"static {self.T} {self.name}_gradient[{self.count}];\n" if self._updates() and self.count else "",
            f"\n{signature}\n{{\n",
            *(f"{line}\n" for line in body),
            "    return 0;\n}\n",
        ]
        return "".join(parts)

    def _comment(self, signature: str) -> str:
        d = self.described
        what = {
            "sgd_step": "A training step",
            "train_step": "A training step",
            "value_and_grad": "A loss and its gradient",
        }
        lines = [
            f"{what.get(d.function.kind, 'A network')} for {len(d.arrays[0])} rows, written by funcnet.",
            "It needs the C library alone: compile it with -lm.",
            "",
            *_wrapped(signature + ";"),
            *(argument.comment for argument in self.arguments()),
        ]
        if self.writer.fails:
            lines.append(
                f"It returns 0, or {BAD_LABEL} for a label or a length out of range, {NO_WEIGHT} for weights that add "
                f"up to 0, {BAD_MASK} for a mask that is 0 everywhere."
            )
        else:
            lines.append("It returns 0.")
        lines.append("Its working memory is static: one thread at a time may call it.")
        if self.count:
            lines += ["", "The params:"]
            values = zip(d.plan.parameters, d.paths, strict=True)
            lines += [
                f"  params[{v.offset}] to [{v.offset + v.elements - 1}]: params{path}, shape {v.shape}"
                for v, path in values
            ]
        text = "\n".join(f"   {line}".rstrip() for line in lines)
        return f"/* {in_comment(text.lstrip())} */\n"

    def _constants(self) -> str:
        if not self.embed or not self.count:
            return ""
        writer = self.writer
        flat = np.concatenate([np.asarray(leaf).ravel() for leaf in tree.leaves(self.described.params)])
        numbers = ", ".join(_literal(x, writer) for x in flat)
        return (
            f"static const {self.T} {self.name}_params[{self.count}] = {{\n"
            + "\n".join(_wrapped(numbers, "    "))
            + "\n};\n"
        )

    def _body(self) -> list[str]:
        """Pointers for what the loops name, the loops, and the update."""
        writer, plan, T = self.writer, self.described.plan, self.T
        update = update_lines(T, self.update, self.count) if self.count and self._updates() else []
        params, gradient, memory = writer.declarations
        head = [*params]
        if self.count and self._updates():
            head.append(f"    {T} *const gradient = {self.name}_gradient;")
        head += [*gradient, *memory]
        unread = zip(writer.keys.inputs, plan.inputs, strict=True)
        head += [f"    (void){name};" for name, x in unread if id(x) not in writer.names]
        if self.count and not self.embed and not self._updates() and not params:
            head.append("    (void)params;")
        return [*head, *writer.lines, *update]


def _literal(x: Any, writer: C99) -> str:
    """A number with just the digits that its dtype has."""
    return writer.number(float(x)) if not np.isfinite(x) else f"{x!s}{writer.suffix}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of numbers or arguments, broken behind commas."""
    lines = [""]
    for word in text.split(", "):
        joined = f"{lines[-1]}, {word}" if lines[-1] else word
        if len(joined) > WIDTH and lines[-1]:
            lines[-1] += ","
            lines.append(word)
        else:
            lines[-1] = joined
    return [indent + line for line in lines]
