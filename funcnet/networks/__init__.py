"""The two dicts and the combinators, compiled into one function. Imports core, tracing, layers and compiler."""
