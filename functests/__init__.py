"""Tests against real Swift and the real runner, one file per promise."""
