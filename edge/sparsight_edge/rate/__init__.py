"""Rate control: what each frame may cost, from how the link fares."""
