"""Frames on disk until the cloud has answered them."""
