"""What was done: specs, the store, and how runs are carried out."""
