"""Bases: the backbones that a detector can stand on, and what each costs."""
