"""Layers as functions for JAX. Imports core, tracing and networks."""
