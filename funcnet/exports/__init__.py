"""Networks in other forms. Imports arrays, errors, tree, tracing, layers and networks."""
