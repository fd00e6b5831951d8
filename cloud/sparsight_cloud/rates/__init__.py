"""Bytes against accuracy: patch features and every way of sending pixels, on the same frames.

frames ─ sweep ─> a result of each (row, frame), on disk ─ report ─> rate.json, tables, chart
           │
           └─ shots: a frame through one row
                ├─ encoders, streams   pixels to bytes and back
                ├─ crops, regions      which pixels
                └─ lab                 the detector, opened at the places where rivals go in
"""
