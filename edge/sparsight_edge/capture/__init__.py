"""Where frames come from: pictures and videos today, one `Source` each."""
