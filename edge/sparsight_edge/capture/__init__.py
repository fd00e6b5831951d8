"""Where frames come from: files, cameras and pipes, one `Source` each."""
