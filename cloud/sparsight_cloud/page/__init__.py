"""A training run as one page: figures, curves and pictures in a single HTML file."""
