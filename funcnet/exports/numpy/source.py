"""A training step, a gradient or a network as one file of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from keyword import kwlist
from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, Labels
from funcnet.calling import checks_call
from funcnet.compiler.blocking import alike, spans
from funcnet.compiler.buffers import written
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import PASSES
from funcnet.display import printable
from funcnet.errors import ExportError
from funcnet.exports.described import Described, Names, describe, plan_of
from funcnet.exports.numpy.arrays import named
from funcnet.exports.numpy.calls import CONSTANT, TAKEN, Recorder, sources
from funcnet.exports.numpy.lines import broken
from funcnet.exports.numpy.trees import built, listed, position, size
from funcnet.native.updates import Language, Update, update_of
from funcnet.tracing.trace import Value
from funcnet.training.gradients import SGDStep
from funcnet.training.scan import has_state

RESERVED = {
    *kwlist,
    *dir(__builtins__),
    *("np", "p", "g", "k", "t", "u", "params", "gradient", "state", "loss", "rows", "check"),
    *TAKEN,
}
BEST = frozenset({"fold_bias"})  # the pass that decides about bits; the others save time and memory
CHECK = '''
def check(name, array, shape, kinds):
    """Refuse an array that this file is not for: NumPy would broadcast, cut or round it without a word."""
    given = np.asarray(array)
    if given.shape != shape or given.dtype.kind not in kinds:
        raise ValueError(f"{name} is {given.dtype} {given.shape}; this file is for the shapes and dtypes at its top")
'''


@checks_call
def to_numpy(function: Any, params: Any, *arrays: Array | Labels) -> str:
    """A training step, a gradient or a network as the text of one file that needs NumPy alone.

        source = fn.to_numpy(step, params, x, target)
        Path("step.py").write_text(source)

    function: a step of `fn.sgd_step`, or of `fn.train_step` with an optimizer that `fn.to_c` writes too; a gradient of
    `fn.value_and_grad`; or a network.
    arrays: example arguments; the file is for arrays of these shapes and dtypes.
    The file has a function `step(params, *arrays)`; with an optimizer `step(params, state, *arrays)`, and `init()` for
    the first state; or `value_and_grad(params, *arrays)`; or `apply(params, *inputs)`. Params have the same form as
    here; a state is a dict of vectors. Results have the bits of the function without a random key. Every value has a
    name made of its operator's key, and every call is one line; time steps, and other calls that differ only in
    numbers, are a loop. Arrays of other shapes raise a ValueError.
    Raises ExportError for a custom layer, and for an optimizer with a schedule, a mask or norms of single arrays; and
    the errors of the function itself.
    """
    described = describe("to_numpy", function, params, arrays, BEST)
    if not hasattr(described.function, "record"):
        raise ExportError(
            f"to_numpy: {described.function.kind} alone is not compiled: give a network of it, fn.serial(layer)"
        )
    return _File(described).text()


class _File:
    """One file of source."""

    def __init__(self, described: Described) -> None:
        self.described = described
        self.count: int = described.layout.count
        self.dtype: np.dtype[Any] = described.layout.dtype
        self.inputs: list[str] = Names(described, RESERVED, CONSTANT).inputs
        self.functions: dict[str, Any] = {}
        self.constants: dict[str, str] = {}
        step = described.function
        self.update: Update | None = None
        if has_state(step):
            functions = {name: f"np.{name}" for name in ("sqrt", "sign", "maximum", "minimum", "where")}
            say = Language(repr, "1.0 - {!r} ** {}".format, functions | {"max": "max"})
            self.update = update_of("to_numpy", step.optimizer, self.dtype, say)

    def cuts(self) -> list[tuple[int, int]]:
        """(start, stop) of the blocks of rows in which the function runs."""
        rows = len(self.described.arrays[0])
        whole = plan_of(self.described, PASSES, rows, rows)
        found = spans(whole, rows)
        plans = [plan_of(self.described, PASSES, stop - start, rows) for start, stop in found]
        return found if all(alike(whole, plan) for plan in plans) else [(0, rows)]

    def text(self) -> str:
        """The file."""
        d, rows = self.described, len(self.described.arrays[0])
        cuts = self.cuts()
        lengths = {stop - start for start, stop in cuts}
        runs = [self.run(d.plan if n == rows else plan_of(d, BEST, n, rows), n) for n in sorted(lengths, reverse=True)]
        parts = [
            self.heading(),
            "from __future__ import annotations\n\nfrom typing import Any, NamedTuple\n\nimport numpy as np\n",
            *self.kinds(),
            CHECK,
            *(
                f"\n\n{text}" if text.startswith(("def ", "class ")) else f"\n{text}"
                for text in sources(self.functions)
            ),
            *self.large(),
            *runs,
            self.outer(cuts),
        ]
        return "".join(parts)

    def heading(self) -> str:
        d, given = self.described, ", ".join(self.inputs)
        call = {
            "sgd_step": f"params, loss = step(params, {given})",
            "train_step": f"params, state, loss = step(params, state, {given})        init() is the first state",
            "value_and_grad": f"loss, gradient = value_and_grad(params, {given})",
        }.get(d.function.kind, f"output = apply(params, {given})")
        shapes = [f"    {name}: {x.dtype} {x.shape}" for name, x in zip(self.inputs, d.arrays, strict=True)]
        leaves = [f"    params{path}: {shape}" for path, shape in zip(d.paths, d.layout.shapes, strict=True)]
        lines = [
            f'"""Written by funcnet, of {self.dtype}. It needs NumPy alone.',
            "",
            f"    {call}",
            "",
            *shapes,
            *leaves,
            '"""',
            "",
            "",
        ]
        text = "\n".join(lines[1:-3]).replace("\\", "\\\\").replace('"""', '\\"' * 3)
        return "\n".join([lines[0], text, *lines[-3:]])

    def kinds(self) -> list[str]:
        """The NamedTuples of the params."""
        found: dict[str, str] = {}
        for _, node in tree.walk(self.described.layout.structure):
            if hasattr(node.kind, "_fields"):
                fields = "".join(f"    {name}: Any\n" for name in node.keys) or "    pass\n"
                found[node.kind.__name__] = f"\n\nclass {node.kind.__name__}(NamedTuple):\n{fields}"
        return [*found.values(), "\n"]

    def large(self) -> list[str]:
        """The constants with names."""
        return ["\n"] * bool(self.constants) + [
            "\n".join(broken(f"{name} = {text}")) + "\n" for text, name in self.constants.items()
        ]

    def run(self, plan: Plan, rows: int) -> str:
        """The function for one block of rows: flat params and arrays in, the gradient and the outputs out."""
        d = self.described
        names = Names(d._replace(plan=plan), RESERVED, CONSTANT)
        w = Recorder(names, self.dtype, self.functions, self.constants)
        gradient = "None"
        if d.gradient:
            w.lines.append("g = np.empty_like(p)")
            gradient = "g"
        for value in [v for call in plan.calls for v in call.operands] + [y.root for y in plan.outputs]:
            if value.root.call is None:
                self._place(w, plan, value.root)
        for name, value in zip(names.inputs, plan.inputs, strict=True):
            if not w.has(value):
                continue
            given = w.text(w.value(value))
            w.lines.append(f"{given}[...] = {name}")
        scope = ""
        for call in plan.calls:
            if call.scope != scope:
                scope = call.scope
                w.lines.append(f"# {printable(' '.join(scope.split()))}")
            for output in written(call):
                self._place(w, plan, output)
            w.write(call)
        outputs = ", ".join(w.text(w.value(y)) for y in plan.outputs)
        body = "\n".join(part for line in w.lines for part in broken(f"    {line}"))
        given = ", ".join(["p", *names.inputs])
        return f"\n\ndef run_{rows}({given}):\n{body}\n    return {gradient}, [{outputs}]\n"

    def _place(self, w: Recorder, plan: Plan, root: Value) -> None:
        """Give a root its array, and a line that makes it."""
        if w.has(root):
            return
        of_params = plan.is_param(root)
        if of_params or plan.is_gradient(root):
            vector = "p" if of_params else "g"
            names = w.names.params if of_params else w.names.gradients
            name = (
                names[root.offset]
                if root.elements == self._size_at(plan, root.offset)
                else w.names.fresh(f"{names[root.offset]}_bias")
            )
            w.lines.append(f"{name} = {vector}[{root.offset}:{root.offset + root.elements}].reshape({root.shape})")
            w.set(root, named(np.empty(root.shape, root.dtype), name))
            return
        name = w.names.of(root)
        w.place(root, w.names.fresh(f"{name}_in") if any(root is x for x in plan.inputs) else name)

    def _size_at(self, plan: Plan, offset: int) -> int:
        return next(v.elements for v in plan.parameters if v.offset == offset)

    def outer(self, cuts: Sequence[tuple[int, int]]) -> str:
        """The function that the user calls, and those that it needs."""
        d, given = self.described, ", ".join(self.inputs)
        flat = [f"params{position(d.layout.structure, i)}.ravel()" for i in range(len(d.layout.shapes))]
        vector = f"np.concatenate([{listed(flat, 8)}    ])" if flat else f"np.empty(0, np.{self.dtype})"
        kind = d.function.kind if d.gradient else "apply"
        name = "value_and_grad" if kind == "value_and_grad" else "step" if d.gradient else "apply"
        lines = [*self._checks(), f"p = {vector}", *self._running(cuts)]
        if isinstance(d.function, SGDStep):
            lines.append(f"return tree(p - gradient), outputs[0]{_times(d.plan.factors[0])}")
        elif self.update is not None:
            lines += self._updating(self.update)
        elif d.gradient:
            lines.append(f"return outputs[0]{_times(d.plan.factors[0])}, tree(gradient)")
        else:
            lines.append(f"return {'tuple(outputs)' if d.function.multi_output else 'outputs[0]'}")
        arguments = f"params, state, {given}" if self.update is not None else f"params, {given}"
        text = f"\n\ndef {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)
        return self._tree() + self._init() + text

    def _checks(self) -> list[str]:
        """A line for each array given."""
        d = self.described
        kinds = {"i": "iu", "u": "iu", "b": "b"}
        arrays = [(x, x, a.shape, kinds.get(a.dtype.kind, "fiu")) for x, a in zip(self.inputs, d.arrays, strict=True)]
        for i, (path, shape) in enumerate(zip(d.paths, d.layout.shapes, strict=True)):
            arrays.append((f"params{path}", f"params{position(d.layout.structure, i)}", shape, "f"))
        return [f"check({name!r}, {given}, {shape}, {kinds!r})" for name, given, shape, kinds in arrays]

    def _running(self, cuts: Sequence[tuple[int, int]]) -> list[str]:
        d, given = self.described, ", ".join(self.inputs)
        factors = d.plan.factors
        scalar = [not y.shape for y in d.plan.outputs]
        if len(cuts) == 1:
            lines = [f"gradient, outputs = run_{cuts[0][1]}(p, {given})"]
            if not d.gradient:
                ends = [
                    f"outputs[{i}][()]{_times(factors[i])}" if s else f'outputs[{i}].copy("C")'
                    for i, s in enumerate(scalar)
                ]
                lines.append(f"outputs = [{', '.join(ends)}]")
            return lines
        rows = cuts[-1][1]
        wholes = [
            f"np.zeros({() if s else (rows, *y.shape[1:])}, np.{y.dtype})"
            for s, y in zip(scalar, d.plan.outputs, strict=True)
        ]
        blocks = ", ".join(f"({start}, {stop}, run_{stop - start})" for start, stop in cuts)
        sliced = ", ".join(f"{x}[start:stop]" for x in self.inputs)
        lines = [
            "gradient = np.zeros_like(p)",
            f"outputs = [{', '.join(wholes)}]",
            f"for start, stop, run in ({blocks}):",
        ]
        lines.append(f"    {'part' if d.gradient else '_'}, results = run(p, {sliced})")
        if d.gradient:
            lines.append("    gradient += part")
        lines += [
            f"    outputs[{i}]{'[...]' if s else '[start:stop]'} {'+=' if s else '='} results[{i}]"
            for i, s in enumerate(scalar)
        ]
        return lines

    def _updating(self, update: Update) -> list[str]:
        lines = ["u = gradient", *(f"{name} = state[{name!r}]" for name in update.vectors)]
        if update.counts:
            lines += ['t = state["steps"] + 1', *(f"{name} = {text}" for name, text in update.scalars)]
        for own, factor in update.passes():
            lines += [f"{name} = {text}" for name, text in own]
            if factor:
                lines += ["norm = float(np.sqrt(float(np.vdot(u, u))))", f"u = u * ({factor})"]
        kept = (['"steps": t'] if update.counts else []) + [f"{name!r}: {name}" for name in update.vectors]
        loss = f"outputs[0]{_times(self.described.plan.factors[0])}"
        return [*lines, f"return tree(p + u), {{{', '.join(kept)}}}, {loss}"]

    def _init(self) -> str:
        if self.update is None:
            return ""
        kept = ['"steps": 0'] * self.update.counts
        kept += [f"{name!r}: np.full({self.count}, {x!r}, np.{self.dtype})" for name, x in self.update.vectors.items()]
        return f'\n\ndef init():\n    """The first state of the optimizer."""\n    return {{{", ".join(kept)}}}\n'

    def _tree(self) -> str:
        if not self.described.gradient:
            return ""
        shapes = self.described.layout.shapes
        leaves = iter(zip(np.cumsum([0, *map(size, shapes)]), shapes, strict=False))
        text = built(self.described.layout.structure, leaves)
        return f'\n\ndef tree(v):\n    """Params whose arrays are pieces of a vector."""\n    return {text}\n'


def _times(factor: float) -> str:
    return "[()]" if factor == 1.0 else f"[()] * {factor!r}"
