"""Where the camera was: from stills, subtitles of films and tables, joined to frames by time."""
