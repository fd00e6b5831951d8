"""Judging a detector on a labelled set.

dataset ── run ──> detections, patches, costs ──┬─ ignore ──> coco_ap  ──┬─> report
                                                └────────────> coverage ──┘
"""
