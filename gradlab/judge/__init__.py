"""What is true: statistics over seeds, and curves against what was blessed."""
