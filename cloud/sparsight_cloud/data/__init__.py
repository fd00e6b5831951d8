"""Annotated data sets: every format is read into the same values, and written from them."""
