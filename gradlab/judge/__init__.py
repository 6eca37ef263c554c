"""What is true: statistics over seeds."""
