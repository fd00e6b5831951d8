"""The messages between device and cloud: generated, typed, committed."""
