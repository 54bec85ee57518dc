"""The two dicts, validated once: one error lists every problem, and the forward order is derived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

from funcnet.core import Layer, OperatorKey
from funcnet.display import how_to_make
from funcnet.errors import GraphError
from funcnet.networks.sharing import Shared
from funcnet.options import is_key, listed, named

Edges: TypeAlias = "dict[OperatorKey, tuple[OperatorKey, ...]]"
SHOWN = 12  # keys listed in a message


class Graph:
    """The graph of the two dicts: order, predecessors, inputs and outputs.

    operators: key -> layer, tuple of layers in series, or `shared(key)`.
    connectivity: key -> the keys that it feeds, in the order of the dict given; those left out of it come last.
    predecessors: key -> who feeds it, in the order in which the edges stand in connectivity: that of its inputs.
    order: key -> its place in the forward pass. First those that nothing feeds, as they stand in operators; each other
    one takes the next place as soon as all that feed it have theirs.
    inputs, outputs: the operators that read the outside, and those whose values go out.
    single: whether there is one output, and not a tuple of them.
    Raises GraphError, which lists every problem of the dicts.
    """

    def __init__(
        self, operators: Mapping[Any, Any], connectivity: Mapping[Any, Any], inputs: Any = None, output: Any = None
    ) -> None:
        inputs, output = listed(inputs), listed(output)
        check = _Check(operators, connectivity)
        self.operators: dict[OperatorKey, Any] = check.operators
        self.connectivity: Edges = check.edges
        self.predecessors: Edges = check.predecessors
        self.order: dict[OperatorKey, int] = check.order()
        self.inputs: tuple[OperatorKey, ...] = check.inputs(inputs)
        self.outputs: tuple[OperatorKey, ...] = check.outputs(output)
        self.single: bool = not isinstance(output, (list, tuple))
        check.reach(self.inputs, self.outputs)
        check.arities(self.inputs)
        if check.problems:
            raise GraphError(tuple(dict.fromkeys(check.problems)))

    def __repr__(self) -> str:
        """How many operators there are."""
        return f"{len(self.order)} operator{'s' * (len(self.order) != 1)}"


class _Check:
    """Collects the problems of the two dicts; entries without a problem go on to the next check.

    An unknown key may be a misspelt one: problems that the right spelling could solve are not reported besides.
    open: the operators that perhaps were meant to feed more than they do, or to be outputs.
    """

    def __init__(self, operators: Any, connectivity: Any) -> None:
        self.problems: list[str] = []
        self._report = self.problems.append
        self.open: set[OperatorKey] = set()
        if not _is_a(operators, Mapping) or not operators:
            self._report(
                f"operators is {_described(operators)}: give a dict of one or more layers, such as {{1: fn.linear(2)}}"
            )
            operators = connectivity = {}
        given = dict[Any, Any](operators).items()
        self.operators: dict[Any, Any] = {named(key): tuple(op) if _is_a(op, list) else op for key, op in given}
        for key, operator in self.operators.items():
            self._operator(key, operator)
        self.edges = self._edges(connectivity)
        fed_by: dict[OperatorKey, list[OperatorKey]] = {key: [] for key in self.operators}
        for key, successors in self.edges.items():
            for successor in successors:
                fed_by[successor].append(key)
        self.predecessors: Edges = {key: tuple(keys) for key, keys in fed_by.items()}

    def _operator(self, key: Any, operator: Any) -> None:
        if not is_key(key):
            self._report(f"operators has the key {_described(key)}: keys are int or str")
            self.open.update(self.operators)
        place = f"operators[{key!r}]"
        if _is_a(operator, Shared) and not self._knows(operator.key):
            self._report(f"{place} shares {self._unknown(operator.key)}")
        elif _is_a(operator, Shared) and _is_a(self.operators[operator.key], Shared):
            self._report(f"{place} shares {operator.key!r}, which is itself shared. Name the operator that it shares")
        elif _is_a(operator, Shared) and operator.transposed:
            self._transposed(place, operator.key)
        elif is_series(operator):
            self._series(place, operator)
        elif not _is_a(operator, Shared) and (fault := _fault(operator)):
            self._report(f"{place} is {fault}")

    def _transposed(self, place: str, key: OperatorKey) -> None:
        source = self.operators[key]
        source = source[0] if is_series(source) and len(source) == 1 else source
        if is_series(source) or (_is_a(source, Layer) and source.apply.transposed is None):
            what = f"{place} shares operator {key!r} ({kind(source)}) transposed"
            self._report(f"{what}, but it has no weight to transpose: give a linear or an embedding its own key")

    def _series(self, place: str, layers: tuple[Any, ...]) -> None:
        if not layers:
            self._report(f"{place} is an empty list: give at least one layer, or fn.identity()")
        for i, layer in enumerate(layers):
            if fault := _fault(layer):
                self._report(f"{place}[{i}] is {fault}")
            elif i and arity(layer) not in (1, None):
                what = f"{place}[{i}] ({kind(layer)}) takes {arity(layer)} inputs"
                self._report(f"{what}, but in a list each layer is fed by the one before it: give it its own key")

    def _edges(self, connectivity: Any) -> Edges:
        if not _is_a(connectivity, Mapping):
            self._report(f"connectivity is {_described(connectivity)}: give a dict, key -> list of the keys it feeds")
            self.open.update(self.operators)
            connectivity = {}
        edges: Edges = {}
        for key, successors in connectivity.items():
            if self._knows(key):
                edges[named(key)] = self._named(f"connectivity[{named(key)!r}]", listed(successors), feeder=named(key))
            else:
                self._report(f"connectivity has the key {self._unknown(named(key))}")
                self.open.update(self.operators)
        return {**edges, **{key: () for key in self.operators if key not in edges}}

    def _named(self, what: str, keys: Any, feeder: OperatorKey | None = None) -> tuple[OperatorKey, ...]:
        """The operators named in one entry: those that one operator feeds, or the inputs or outputs."""
        maybe_open = self.operators if feeder is None else [feeder]
        if not _is_a(keys, Iterable) or _is_a(keys, str, Set, Mapping) or (feeder is None and not keys):
            meant = [nearest(k, self.operators) for k in ([keys] if is_key(keys) else keys if _is_a(keys, Set) else ())]
            example = [k for k in meant if k is not None] or ([*self.operators][:1] if feeder is None else [])
            self._report(f"{what} is {_described(keys)}: write a list of keys, such as {example}")
            self.open.update(maybe_open)
            return ()
        found = [*map(named, keys)]
        for key in (k for k in found if not self._knows(k)):
            self._report(f"{what} names {self._unknown(key)}")
            self.open.update(maybe_open)
        count = Counter[OperatorKey](key for key in found if self._knows(key))
        for key in (k for k in count if count[k] > 1):
            self.open.update(maybe_open)
            hint = "" if feeder is None else ". To feed a value twice, put an fn.identity() between"
            self._report(f"{what} names {key!r} {count[key]} times: name it once{hint}")
        return tuple(count)

    def _knows(self, key: Any) -> bool:
        return is_key(key) and key in self.operators

    def _unknown(self, key: Any) -> str:
        if not is_key(key):
            return f"{_described(key)}: keys are int or str"
        near = nearest(key, self.operators)
        hint = "" if near is None else f" Did you mean {near!r}?"
        return f"{key!r}, which is not in operators {_listed(self.operators)}.{hint}"

    def order(self) -> dict[OperatorKey, int]:
        """The place of each operator; a cycle is reported, and then cut so that the rest is ordered too."""
        waiting = {key: len(keys) for key, keys in self.predecessors.items()}
        ready = [key for key, count in waiting.items() if not count]
        order: dict[OperatorKey, int] = {}
        cut: set[tuple[OperatorKey, OperatorKey]] = set()
        while len(order) < len(waiting):
            for key in ready:  # grows while it is walked
                order[key] = len(order)
                for successor in (s for s in self.edges[key] if (key, s) not in cut):
                    waiting[successor] -= 1
                    if not waiting[successor]:
                        ready.append(successor)
            if len(order) < len(waiting):
                last, first = self._cycle(order, cut)
                cut.add((last, first))
                waiting[first] -= 1
                ready = [] if waiting[first] else [first]
        return order

    def _cycle(self, done: Mapping[Any, int], cut: set[Any]) -> tuple[OperatorKey, OperatorKey]:
        """Walk back from an operator that waits until one comes again; report the way and return its closing edge."""
        key = next(key for key in self.operators if key not in done)
        seen: dict[OperatorKey, int] = {}
        while key not in seen:
            seen[key] = len(seen)
            key = next(p for p in self.predecessors[key] if p not in done and (p, key) not in cut)
        cycle = [*seen][seen[key] :][::-1]
        start = cycle.index(next(k for k in self.operators if k in cycle))
        *_, last, first = cycle = [*cycle[start:], *cycle[: start + 1]]
        way = " -> ".join(map(repr, cycle))
        self._report(f"{way} is a cycle. Remove one of its edges, for example {first!r} from connectivity[{last!r}].")
        return last, first

    def inputs(self, inputs: Any) -> tuple[OperatorKey, ...]:
        """The operators that read the outside: those named, or those that nothing feeds."""
        if inputs is None:
            return tuple(key for key, keys in self.predecessors.items() if not keys)
        named = self._named("inputs", inputs)
        for key in (k for k in named if self.predecessors[k]):
            others = f"operator {key!r} is named in inputs, but {_listed(self.predecessors[key])} feeds it too."
            self._report(f"{others} Give the input an operator of its own: an fn.identity() that feeds it")
        return named

    def outputs(self, output: Any) -> tuple[OperatorKey, ...]:
        """The operators whose values go out: those named, or the only one that feeds nothing."""
        if output is not None:
            return self._named("output", output if isinstance(output, (list, tuple)) else [output])
        sinks = tuple(key for key, successors in self.edges.items() if not successors and key not in self.open)
        if len(sinks) > 1:
            hint = f"for example output={sinks[-1]!r}, or several, output=[{sinks[0]!r}, {sinks[1]!r}]"
            self._report(f"{len(sinks)} operators feed nothing: {_listed(sinks)}. Name the output, {hint}")
        return sinks

    def reach(self, inputs: Iterable[OperatorKey], outputs: Iterable[OperatorKey]) -> None:
        """Report operators that no input reaches, and operators that reach no output."""
        reached = reachable(inputs, self.edges)
        for key in (k for k in self.operators if inputs and k not in reached and not self.open):
            how = "feed it from one" if self.predecessors[key] else "name it in inputs, feed it"
            self._report(f"no input reaches operator {key!r}: {how}, or remove it")
        needed = reachable([*outputs, *self.open], self.predecessors)
        for key in (k for k in self.operators if outputs and k not in needed):
            self._report(f"operator {key!r} reaches no output: connect it, name it in output, or remove it")

    def arities(self, inputs: Sequence[OperatorKey]) -> None:
        """Report operators that are fed by more or fewer values than they take."""
        read = set(inputs)
        for key, own in self.operators.items():
            operator = own if not _is_a(own, Shared) else self.operators[own.key] if self._knows(own.key) else None
            takes, fed = arity(operator), self.predecessors[key]
            if takes is None or not (fed or key in read) or (len(fed) or 1) == takes:
                continue
            needs = f"operator {key!r} ({kind(operator)}) takes {takes} input{'s' * (takes > 1)}, but is"
            if len(fed) > takes:
                self._report(f"{needs} fed by {_listed(fed)}. Merge them first, for instance with fn.add()")
            elif not self.open:
                who = f"fed by {_listed(fed)} alone" if fed else "an input operator, which reads one array"
                self._report(f"{needs} {who}. Feed it by {takes}; an input gets its own fn.identity()")


def _is_a(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds)


def is_series(operator: Any) -> bool:
    """Whether this is a tuple of layers, and no NamedTuple."""
    return type(operator) is tuple


def arity(operator: Any) -> int | None:
    """How many inputs a layer, or the first of a series, takes; None for any number, or an unknown one."""
    first = operator[0] if is_series(operator) and operator else operator
    return getattr(getattr(first, "apply", None), "arity", None)


def kind(operator: Any) -> str:
    """What to call an operator in a message."""
    name = str(getattr(getattr(operator, "apply", None), "kind", "no layer"))
    return ", ".join(map(kind, operator)) if is_series(operator) else name


def reachable(start: Iterable[OperatorKey], edges: Edges) -> set[OperatorKey]:
    """The keys that can be reached along the edges."""
    found = dict.fromkeys(start)
    for key in (stack := [*found]):  # grows while it is walked
        stack.extend(new := [k for k in edges[key] if k not in found])
        found.update(dict.fromkeys(new))
    return {*found}


def nearest(key: OperatorKey, known: Iterable[Any]) -> OperatorKey | None:
    """The known key that looks most like this one."""
    import difflib  # only where there is an error to tell

    by_name = {str(k): k for k in known if is_key(k)}
    integers = [k for k in by_name.values() if isinstance(k, int)]
    if isinstance(key, int) and integers and str(key) not in by_name:
        return min(integers, key=lambda k: abs(k - key))
    close = difflib.get_close_matches(str(key), by_name, n=1)
    return by_name[close[0]] if close else None


def _listed(keys: Iterable[Any]) -> str:
    names = [repr(key) for key in keys]
    more = f", ... ({len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return "{" + ", ".join(names[:SHOWN]) + more + "}"


def _described(value: Any) -> str:
    name = type(value).__name__
    return f"{value!r:.60}, a{'n' * (name[0] in 'aeiou')} {name}"


def _fault(layer: Any) -> str:
    if _is_a(layer, Layer):
        fault = "a network of several outputs, but an operator has one: join them inside it"
        return fault if layer.apply.multi_output else ""
    if callable(layer) or isinstance(layer, str):
        name = getattr(layer, "__name__", "<")
        what = _described(layer) if name.startswith("<") else f"the function {name}"
        return f"{what} and not a layer{how_to_make(layer)}"
    return f"{_described(layer)}: give a layer such as fn.linear(25), or a list of layers"
