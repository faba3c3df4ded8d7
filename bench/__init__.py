"""One script per question; `tools/bench` runs them."""
