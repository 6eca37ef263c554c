"""What was found, in sentences made from the data."""
