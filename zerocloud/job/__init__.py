"""What is asked and what it means: pure, no I/O, no Swift."""
