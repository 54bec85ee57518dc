"""From a trace to a program bound to memory: plan, fusion, blocking, binding. Imports core and tracing, no layer."""
