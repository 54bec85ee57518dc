"""Checkpoints: params, state and metadata in one file. Imports arrays, errors and tree."""
