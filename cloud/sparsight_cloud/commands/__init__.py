"""The commands, a module each; torch and the like are imported when one runs."""
