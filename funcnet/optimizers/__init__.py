"""Optimizers and schedules: pairs of pure functions over pytrees. Imports core."""
