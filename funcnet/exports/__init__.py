"""Exports: a package for each format; `described`, the program that C and NumPy are written from. Imports all below."""
