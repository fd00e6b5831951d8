"""What becomes of committed results: tables and files for other programs."""
