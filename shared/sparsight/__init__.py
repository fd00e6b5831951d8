"""What both halves agree on; nothing is imported here, so that every part comes alone."""
