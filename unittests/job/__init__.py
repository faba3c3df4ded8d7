"""Unit tests of zerocloud/job: pure, no Swift, no network."""
