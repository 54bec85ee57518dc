"""Optimizers and schedules: pairs of pure functions over pytrees. Imports arrays, errors and tree."""
