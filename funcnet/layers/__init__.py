"""Layers, one family a file. Imports core and tracing."""
