"""The scheduler's tests: fakes with rules, no Swift cluster, no network."""
