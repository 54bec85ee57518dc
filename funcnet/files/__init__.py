"""Checkpoints: params, state and metadata in one file. Imports the ground floor alone."""
