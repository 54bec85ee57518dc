"""From a trace to a program bound to memory: plan, fusion, blocking, binding. Imports tracing and core, no layer."""
