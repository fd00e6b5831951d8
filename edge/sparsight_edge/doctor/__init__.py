"""`sparsight edge doctor`: whether this device can do its work, and what to do where it can't."""
