"""The codec's exact half: integer tables, the entropy coder, the payload format."""
