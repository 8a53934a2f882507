"""Scripts as users write them; B4 and B5 run them and read the JSON line that each prints."""
