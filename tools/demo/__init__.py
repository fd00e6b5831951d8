"""`make demo`: the product in small, two cameras over Munich and a cloud on this machine."""
