"""The device half at other precisions: exported, checked, and judged side by side."""
