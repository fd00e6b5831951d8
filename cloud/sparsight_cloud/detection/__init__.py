"""Pictures in, objects, annotated pictures and a table out: what `sparsight detect` does."""
