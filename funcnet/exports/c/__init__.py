"""Steps and networks as a file of C. Imports tracing, compiler, training, native and exports."""
