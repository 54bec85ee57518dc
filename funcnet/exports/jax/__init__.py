"""Layers as functions for JAX. Imports errors, tree, core, tracing and networks."""
