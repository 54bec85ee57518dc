"""The two dicts, and what composes layers, compiled into one function. Imports the compiler and layers."""
