"""Many pictures, by many processes, without a duplicate or a hole: `sparsight batch run`."""
