"""Layers, one family a file. Imports core, tracing and initializers."""
