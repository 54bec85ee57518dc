"""The C text of a program: its functions for a batch or its blocks, for a step, for many steps and many members.

Each takes a table of array objects, `table.Table`: the slab, the params, the new params, the arrays given, the arrays
to return and, with an optimizer, for each vector of its state the old one and the new one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import accumulate
from math import prod

from funcnet.compiler.plan import Plan
from funcnet.native.emission import Emission, by_numpy, c_type
from funcnet.native.functions import FUNCTIONS_H
from funcnet.native.grouping import Grouping
from funcnet.native.images import FORMS as IMAGES
from funcnet.native.images import IMAGES_H
from funcnet.native.members import members_text
from funcnet.native.memory import OVERRUN, Placement, rounded
from funcnet.native.recurrence import FORMS as RECURRENT
from funcnet.native.recurrence import RECURRENCE_H, TIME_PRODUCT_H
from funcnet.native.table import FIRST, HEAD, NEW, PARAMS, SLAB, STEPS
from funcnet.native.update_loops import Places, loops_of
from funcnet.native.updates import Update
from funcnet.tracing.primitive import MATMUL
from funcnet.tracing.trace import Value

PRODUCTS_H = files("funcnet.native").joinpath("products.h").read_text(encoding="utf-8")
LONG = 8  # bytes of a whole number, at most
STATUS = 8  # bytes of the status that calls set which find a wrong label
PADDED = 32  # bytes that rows are padded to: a vector of most machines, half of the widest one
INLINED = 40  # products in a program, up to which each is compiled for its own shape
GCC = """#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("vect-cost-model=dynamic") /* as a flag zig refuses it */
#endif
"""
MACROS = """#if defined(__clang__)
#define FN_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define FN_IVDEP _Pragma("GCC ivdep")
#endif
#define FN_APART __attribute__((noinline))
#define FN_WHERE(condition, a, b) ((condition) ? (a) : (b))
#define FN_TEXT(...) #__VA_ARGS__
#define FN_PRAGMA(...) _Pragma(FN_TEXT(__VA_ARGS__))
#define FN_SUM(...) FN_PRAGMA(omp simd reduction(+:__VA_ARGS__))
#define FN_ARRAY(i) (*(char *const *)((const char *)fn_table[i] + FN_HEAD))
"""


class Code:
    """The C text of a program, for a whole batch or for blocks of it, and what runs between its functions.

    stretches: the number of C functions of a run, with calls of NumPy between them.
    update: the update after each of many steps in one call; None where they cannot be one call.
    finite: whether those steps stop, and set the status, where the loss or a new param is not finite.
    """

    def __init__(
        self, plans: dict[int, Plan], spans: list[tuple[int, int]], update: Update | None, finite: bool
    ) -> None:
        self.update = update
        self.finite = finite
        self.plans = plans
        self.spans = spans
        self.emissions: dict[int, Emission] = {rows: emitted(plan, rows) for rows, plan in plans.items()}
        self.first: Emission = next(iter(self.emissions.values()))
        self.plan: Plan = self.first.plan
        self.stretches: int = len(self.first.segments)
        self.scans: bool = update is not None and self.stretches == 1
        self.inputs: tuple[Value, ...] = self.plan.inputs
        size = max(e.placement.plan.size for e in self.emissions.values())
        scratch = max(e.scratch_size for e in self.emissions.values()) * self.plan.dtype.itemsize
        self.scratch: int = rounded(size)
        self.ends: int = rounded(self.scratch + scratch + OVERRUN)
        self.total: int = rounded(self.ends + LONG * max(e.longest for e in self.emissions.values()))
        count = self.plan.param_count
        self.status: int = rounded(self.total + (count * self.plan.dtype.itemsize if len(spans) > 1 else 0))
        self.status_text: str = f"*(int64_t *)(fn_slab + {self.status})"
        self.size: int = self.status + STATUS
        self.checks: bool = any(e.checks for e in self.emissions.values())
        self.count = count
        self.source: str = self._text()

    def _signature(self) -> str:
        arrays = [f"const {c_type(x)} *const fn_x{i}" for i, x in enumerate(self.inputs)]
        arrays += [f"{c_type(y.root)} *const fn_y{i}" for i, y in enumerate(self.plan.outputs)]
        return ", ".join(["char *const fn_slab", "const T *const fn_params", *arrays])

    def _text(self) -> str:
        plan = self.plan
        products = sum(call.primitive is MATMUL for e in self.emissions.values() for call in e.plan.calls)
        parts = [
            GCC,
            f"#define T {'float' if plan.dtype.itemsize == 4 else 'double'}",
            f"#define FN_SIZE {plan.dtype.itemsize}",
            f"#define FN_HEAD {HEAD}",
            f"#define FN_ROWS {max(self.emissions)}",
            f"#define FN_PRODUCT {'FN_INLINE' if products <= INLINED else 'static'}",
            FUNCTIONS_H,
            MACROS,
            PRODUCTS_H,
        ]
        if any(call.primitive.name in RECURRENT for call in plan.calls):
            parts += [f"#define FN_TANH fn_tanh{self.first.suffix}", RECURRENCE_H, TIME_PRODUCT_H]
        if any(call.primitive.name in IMAGES for call in plan.calls):
            parts.append(IMAGES_H)
        for rows, emission in self.emissions.items():
            for i, lines in enumerate(emission.segments):
                parts += [f"static void fn_rows{rows}_{i}({self._signature()}) {{", *self._body(emission, lines), "}"]
        parts += self._entries()
        return "\n".join(parts) + "\n"

    def _body(self, emission: Emission, lines: Sequence[str]) -> list[str]:
        """The lines, behind pointers to the values in them."""
        used = {*re.findall(r"\w+", "\n".join(lines))}
        constants = {name: f"static const T {name}[] = {{{numbers}}};" for numbers, name in emission.constants.items()}
        head = [text for name, text in (emission.declarations | constants).items() if name in used]
        if "fn_scratch" in used:
            head.append(f"T *const fn_scratch = (T *)(fn_slab + {self.scratch});")
        if "fn_ends" in used:
            head.append(f"long *const fn_ends = (long *)(fn_slab + {self.ends});")
        if "fn_status" in used:
            head.append(f"int64_t *const fn_status = (int64_t *)(fn_slab + {self.status});")
        return [*(f"    {line}" for line in head), *lines]

    def _unless_failed(self) -> list[str]:
        """Lines that leave a function where the status has been set."""
        return [f"        if ({self.status_text}) return;"] * self.checks

    def _entries(self) -> list[str]:
        """The functions that Python calls."""
        table, arrays = "void *const *fn_table", range(len(self.inputs) + len(self.plan.outputs))
        given = ", ".join(map("FN_ARRAY({})".format, (SLAB, PARAMS, *(FIRST + i for i in arrays))))
        (rows, *_) = self.emissions
        if len(self.spans) > 1:
            text = [self._blocks()]
        else:
            text = [
                f"static void fn_run{i}({self._untyped()}) {{ fn_rows{rows}_{i}({', '.join(self._given())}); }}"
                for i in range(self.stretches)
            ]
        text += [f"void funcnet_run{i}({table}) {{ fn_run{i}({given}); }}" for i in range(self.stretches)]
        if self.stretches == 1:
            text.append(members_text(self.count, self._gradient_count(), self.gradient(), len(arrays)))
        if self.update is not None:
            text += [self._update(self.update), self._step(self.update, given)]
        return [*text, self._scan(self.update)] if self.update is not None and self.scans else text

    def _untyped(self) -> str:
        """The parameters of a function of all arrays as bytes."""
        arrays = len(self.inputs) + len(self.plan.outputs)
        return ", ".join(["char *fn_slab", "const char *fn_params", *(f"char *fn_a{i}" for i in range(arrays))])

    def _given(self, start: str = "") -> list[str]:
        """The arguments of a function of the text, from those bytes, from the row `start` on."""
        places = ["fn_slab", "(const T *)fn_params"]
        for i, value in enumerate((*self.inputs, *self.plan.outputs)):
            rows = f" + {start} * {prod(value.shape[1:])}" if start and value.batch_axis == 0 else ""
            places.append(f"({c_type(value.root)} *)fn_a{i}{rows}")
        return places

    def _blocks(self) -> str:
        """All blocks in turn; results that are sums are added up."""
        outputs = self.plan.outputs
        sums = [i for i, y in enumerate(outputs) if y.batch_axis is None]
        first = len(self.inputs)
        lines = [
            f"static void fn_run0({self._untyped()}) {{",
            f"    T *const g = (T *)(fn_slab + {self.first.placement.gradient}), *const total = (T *)(fn_slab + "
            f"{self.total});",
            f"    T {', '.join(['part = 0', *(f'sum{i} = 0' for i in sums)])};",
            f"    (void)part; for (long i = 0; i < {self._gradient_count()}; i++) total[i] = 0;",
        ]
        whole = self.spans[0][1]
        count = sum(stop - start == whole for start, stop in self.spans)
        tails = [(str(start), stop - start) for start, stop in self.spans[count:]]
        for start, rows in [("b", whole), *tails]:
            arguments = self._given(start)
            for i in sums:
                arguments[2 + first + i] = f"&sum_of_block{i}"
            head = f"for (long b = 0; b < {count * whole}; b += {whole}) {{" if start == "b" else "{"
            lines += [
                f"    {head} {' '.join(f'T sum_of_block{i};' for i in sums)}",
                f"        fn_rows{rows}_0({', '.join(arguments)});",
                *self._unless_failed(),
                *(f"        sum{i} += sum_of_block{i};" for i in sums),
                f"        for (long i = 0; i < {self._gradient_count()}; i++) total[i] += g[i];",
                "    }",
            ]
        lines += [f"    *(T *)fn_a{first + i} = sum{i};" for i in sums]
        return "\n".join([*lines, "}"])

    def _gradient_count(self) -> int:
        return self.count if self.plan.has_gradient else 0

    def gradient(self) -> int:
        """The byte of the slab at which the gradient is after a run."""
        return self.first.placement.gradient if len(self.spans) == 1 else self.total

    def _update(self, update: Update) -> str:
        """One update after so many steps, from params and state to new ones, which may be the same memory.

        It gives a number that is NaN where a new param is not finite, if the step asks that.
        """
        state = "".join(f", const T *fn_{v}, T *fn_new_{v}" for v in update.vectors)
        head = f"for (long i = 0; i < {self._gradient_count()}; i++) {{"
        hints = "FN_IVDEP", "FN_SUM({})"
        kept = f"fn_normal{self.first.suffix}({{}})"  # a processor may take 100 times as long for a subnormal moment
        ends = (*accumulate(parameter.elements for parameter in self.plan.parameters),)
        places = Places("T", head, "gradient", "params", "fn_new", "fn_{}", "fn_new_{}", hints, kept, ends)
        scalars = "|".join(name for name, _ in update.scalars) or "$^"
        parts = [(name, re.sub(rf"/ ({scalars})\b", r"* (1 / \1)", line)) for name, line in update.lines]
        update = update._replace(lines=parts)  # reciprocals are computed once, for to divide takes long
        lines = [
            "static FN_APART T fn_update(char *fn_slab, const T *params, T *fn_new, const long steps, "
            f"const double *fn_numbers{state}) {{",
            f"    T *const gradient = (T *)(fn_slab + {self.gradient()}), bad = 0;",
            "    const double t = (double)(steps + 1);",
            "    (void)t; (void)fn_numbers;",
            *(f"    const T {name} = (T)({text});" for name, text in update.scalars),
            *(f"    const T {name} = (T)fn_numbers[{i}];" for i, (name, _) in enumerate(update.numbers)),
            *(f"    {line}" for line in loops_of(update, places, "bad" if self.finite else "")),
        ]
        return "\n".join([*lines, "    return bad;", "}"])

    def _step(self, update: Update, given: str) -> str:
        """The last stretch and the update after it."""
        state = FIRST + len(self.inputs) + len(self.plan.outputs)
        vectors = [f"(T *)FN_ARRAY({state + i})" for i in range(2 * len(update.vectors))]
        numbers = f"(double *)FN_ARRAY({state + len(vectors)})"
        places = [f"FN_ARRAY({SLAB})", f"(T *)FN_ARRAY({PARAMS})", f"(T *)FN_ARRAY({NEW})"]
        arguments = [*places, f"(long)fn_table[{STEPS}]", numbers, *vectors]
        return f"""void funcnet_step(void *const *fn_table) {{
    fn_run{self.stretches - 1}({given});
    fn_update({", ".join(arguments)});
}}"""

    def _scan(self, update: Update) -> str:
        """Many steps: params and state change where they are, arrays and outputs move on. `start` steps came before.

        moves: from one step to the next in bytes, for each array and output.
        """
        arrays = (*self.inputs, *self.plan.outputs)
        state = FIRST + len(arrays)
        vectors = [f"(T *)FN_ARRAY({state + 2 * i + j})" for i in range(len(update.vectors)) for j in (0, 1)]
        moved = [f"FN_ARRAY({FIRST + i}) + at * moves[{i}]" for i in range(len(arrays))]
        numbers = f"(double *)FN_ARRAY({state + len(vectors)}) + at * {len(update.numbers)}"
        places = ["fn_slab", "(T *)params", "(T *)params", "start + at", numbers]
        lines = [
            "void funcnet_scan(void *const *fn_table, long at, long stop, long start, const long *moves) {",
            f"    char *const fn_slab = FN_ARRAY({SLAB}), *const params = FN_ARRAY({NEW});",
            "    for (; at < stop; at++) {",
            f"        fn_run0({', '.join(['fn_slab', 'params', *moved])});",
            *self._unless_failed(),
            f"        {'const T bad = ' * self.finite}fn_update({', '.join([*places, *vectors])});",
        ]
        if self.finite:
            loss = f"*(T *)({moved[len(self.inputs)]})"
            lines.append(f"        if (!(bad + ({loss} - {loss}) == 0)) {{ {self.status_text} = 1; return; }}")
        return "\n".join([*lines, "    }", "}"])


def emitted(plan: Plan, rows: int) -> Emission:
    """A plan as C. Rows are padded to whole vectors, unless NumPy makes some of the products."""
    grouping = Grouping(plan)
    plain = any(call.primitive is MATMUL and call.output.ndim == 2 and by_numpy(call) for call in plan.calls)
    lanes = 1 if plain else PADDED // plan.dtype.itemsize
    return Emission(plan, grouping, Placement(plan, grouping, lanes))
