"""From labelled pictures to weights."""
